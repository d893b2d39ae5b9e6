"""The end of this process at a second signal, whatever it is doing."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NoReturn

import click

from aexp.errors import Interrupted
from aexp.processes.loop import leave_terminal_clean

__all__ = ["UNWIND_S", "end_at_once", "end_with_databases"]

# What a second signal leaves to the dropping of databases and the end of processes.
UNWIND_S = 60.0


def end_at_once(run_id: str | None = None, clear: Callable[[], None] | None = None) -> NoReturn:
    """Say in a clean line how the run goes on, if there is one, and end.

    ``clear`` erases what is drawn.
    """
    if clear is not None:
        clear()
    leave_terminal_clean()
    click.echo(f"aexp: error: {Interrupted(run_id)}", err=True)
    os._exit(Interrupted.exit_code)


def end_with_databases(command: str) -> NoReturn:
    """End although the throwaway databases of ``command`` could not be dropped in time."""
    leave_terminal_clean()
    click.echo(
        f"aexp: error: interrupted; databases are left, since they could not be dropped within"
        f" {UNWIND_S:g} s: the next `aexp {command}` drops them",
        err=True,
    )
    os._exit(Interrupted.exit_code)
