"""The command line: parse, call, print, exit code."""

from aexp.cli.main import main

__all__ = ["main"]
