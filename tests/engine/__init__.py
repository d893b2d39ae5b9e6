"""Tests of aexp.engine."""
