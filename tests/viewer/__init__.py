"""Tests of aexp.viewer."""
