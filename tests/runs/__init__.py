"""Tests of aexp.runs."""
