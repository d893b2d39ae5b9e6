"""Tests of aexp.crash.http."""
