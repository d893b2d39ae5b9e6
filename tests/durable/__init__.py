"""Tests of aexp.durable."""
