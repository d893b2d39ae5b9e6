"""Tests of aexp.processes."""
