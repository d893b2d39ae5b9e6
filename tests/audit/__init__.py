"""Tests of aexp.audit."""
