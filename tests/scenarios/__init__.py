"""Tests of aexp.scenarios."""
