"""Tests of aexp.service."""
