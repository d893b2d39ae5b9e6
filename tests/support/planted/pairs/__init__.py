"""Workflows in pairs: one that is wrong, and a right one that is as like it as possible."""
