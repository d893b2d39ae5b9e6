"""The ``aexp`` command and what becomes of its errors."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

import aexp
from aexp.cli.bench import bench
from aexp.cli.db import db
from aexp.cli.options import State
from aexp.cli.output import out
from aexp.cli.report import report
from aexp.cli.run import resume, run, work
from aexp.cli.serve import serve
from aexp.cli.show import audit, describe, list_scenarios, runs
from aexp.errors import AexpError
from aexp.log import mask

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(aexp.__version__, prog_name="aexp")
def cli() -> None:
    """A laboratory for durable asyncio: run DBOS workflows, kill them, resume them, and account
    for every message."""


for command in (run, resume, audit, report, list_scenarios, describe, runs, serve, bench, db, work):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: 0 well, 1 broken promise, 2 usage, 3 database, 130 interrupted."""
    state = State()
    try:
        code = cli.main(args=arguments, prog_name="aexp", obj=state, standalone_mode=False)
    except click.exceptions.Abort:
        code = _fail("interrupted", 130)
    except KeyboardInterrupt:
        code = _fail("interrupted", 130)
    except SystemExit as error:
        code = _fail(f"the workflow or its module ended the process: SystemExit({error.code})", 1)
    except click.ClickException as error:
        code = _fail(_one_line(error.format_message()), error.exit_code)
    except Exception as error:
        code = _explain(error, state)
    sys.exit(code)


def _explain(error: Exception, state: State) -> int:
    """Print ``error`` in one line, or whole with --debug; the exit code that it maps to."""
    if state.debug:
        traceback.print_exception(error)
    cause = _first_of_ours(error)
    if cause is not None:
        return _fail(_one_line(str(cause)), cause.exit_code)
    if isinstance(error, BrokenPipeError):
        # Whoever read our stdout has read enough. Python must not try to flush it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out().fileno())
        return 1
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return _fail(f"cannot write: {error.strerror}", 1)
    what = f"{type(error).__name__}: {_one_line(str(error))}"
    return _fail(f"{what} (a bug in aexp: --debug shows where)", 1)


def _first_of_ours(error: BaseException) -> AexpError | None:
    """The error itself, or the one that a task group wrapped."""
    if isinstance(error, AexpError):
        return error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            if (found := _first_of_ours(inner)) is not None:
                return found
    return None


def _one_line(message: str) -> str:
    return " ".join(mask(message).split())


def _fail(message: str, code: int) -> int:
    click.echo(f"aexp: error: {message}", err=True)
    return code
