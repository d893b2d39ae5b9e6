"""Tests of aexp.crash."""
