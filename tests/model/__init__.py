"""Tests of aexp.model."""
