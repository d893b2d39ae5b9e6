"""Tests of aexp.database."""
