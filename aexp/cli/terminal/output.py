"""The real stdout, kept for what a command has to say.

A user's module may print: what it prints goes to stderr while a command runs, so that stdout holds
the report and nothing else.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

from aexp.errors import OutputClosed

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = [
    "give_up_stdout",
    "is_reserved",
    "open_missing_streams",
    "out",
    "reserve_stdout",
    "restore_stdout",
]

_reserved: TextIO | None = None


class _Stdout(io.FileIO):
    """A file whose reader may leave: that is an OutputClosed, and no other broken pipe is."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError as error:
            raise OutputClosed from error


def out() -> TextIO:
    """Return where a command writes its result; raises OutputClosed when nobody reads it."""
    return _reserved if _reserved is not None else sys.stdout


def is_reserved() -> bool:
    """Return whether :func:`reserve_stdout` was called."""
    return _reserved is not None


def open_missing_streams() -> None:
    """Open /dev/null in place of standard streams that whoever started this process has closed.

    Else the next file that is opened would get their numbers, and what is printed.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # The lowest number that is free.
            opened = os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
            assert opened == number
            setattr(sys, name, os.fdopen(opened, "r" if number == 0 else "w"))


def reserve_stdout() -> None:
    """Make file descriptor 1 stderr from now on; the real stdout is ``out()``."""
    global _reserved  # noqa: PLW0603 - a process has one stdout
    if _reserved is None:
        sys.stdout.flush()
        raw = _Stdout(os.dup(1), "w")
        _reserved = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding="utf-8",
            errors="backslashreplace",
            line_buffering=raw.isatty(),
        )
        os.dup2(2, 1)


def give_up_stdout() -> None:
    """Let what could not be written go nowhere: Python would try again when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, out().fileno())
    os.close(nowhere)


def restore_stdout() -> None:
    """Give file descriptor 1 back, for a program that takes this one's place."""
    if _reserved is not None:
        _reserved.flush()
        os.dup2(_reserved.fileno(), 1)
