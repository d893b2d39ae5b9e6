"""Tests of aexp.bench."""
