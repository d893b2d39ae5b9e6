"""A small shop: it sells mugs, each order exactly once."""
