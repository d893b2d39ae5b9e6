"""Tests of aexp.cli."""
