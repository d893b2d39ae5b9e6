"""Measure cells: each in a process and a database of its own."""
