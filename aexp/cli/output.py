"""The real stdout, kept for what a command has to say.

A user's module may print: what it prints goes to stderr while a command runs, so that stdout holds
the report and nothing else.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

__all__ = ["out", "reserve_stdout", "restore_stdout"]

_reserved: TextIO | None = None


def out() -> TextIO:
    """Where a command writes its result."""
    return _reserved if _reserved is not None else sys.stdout


def reserve_stdout() -> None:
    """From now on file descriptor 1 is stderr, and the real stdout is ``out()``."""
    global _reserved  # noqa: PLW0603 - a process has one stdout
    if _reserved is None:
        sys.stdout.flush()
        _reserved = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)


def restore_stdout() -> None:
    """Give file descriptor 1 back, for a program that takes this one's place."""
    if _reserved is not None:
        _reserved.flush()
        os.dup2(_reserved.fileno(), 1)
