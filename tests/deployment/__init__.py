"""Tests of the container's files."""
