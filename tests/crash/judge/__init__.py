"""Judgements: pure functions of histories that are written down by hand."""
