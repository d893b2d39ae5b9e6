"""The ``aexp`` command and what becomes of its errors."""

from __future__ import annotations

import errno
import gc
import importlib
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import click

import aexp
from aexp.cli.output import out
from aexp.cli.state import State
from aexp.errors import first_of_ours

__all__ = ["main"]

# Where each command is. Its module is imported when it is asked for: what they need takes most of
# a second, and `aexp --version` needs none of it.
_HOMES = {
    "run": "aexp.cli.run:run",
    "resume": "aexp.cli.run:resume",
    "audit": "aexp.cli.show:audit",
    "report": "aexp.cli.report:report",
    "list": "aexp.cli.show:list_scenarios",
    "describe": "aexp.cli.show:describe",
    "runs": "aexp.cli.show:runs",
    "bench": "aexp.cli.bench:bench",
    "crash": "aexp.cli.crash:crash",
    "serve": "aexp.cli.serve:serve",
    "worker": "aexp.cli.worker:worker",
    "workers": "aexp.cli.worker:workers",
    "recover": "aexp.cli.worker:recover",
    "db": "aexp.cli.db:db",
    "work": "aexp.cli.run:work",
}


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """Imports: what they make stays, so that the collector need not look through it, now or later.

    It would take a quarter of the time that DBOS and SQLAlchemy take to be imported.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class _Commands(click.Group):
    """The commands of ``_HOMES``."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(_HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _HOMES:
            return None
        module, _, name = _HOMES[cmd_name].partition(":")
        with _collector_at_rest():
            command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(aexp.__version__, prog_name="aexp")
def cli() -> None:
    """A laboratory for durable asyncio: run DBOS workflows, kill them, resume them, and account
    for every message."""


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
    if "obstore" in sys.modules:
        # A thread of its may still wait for a store that hangs. Were Python taken down under it, it
        # would print a backtrace that tells nobody anything.
        out().flush()
        sys.stderr.flush()
        os._exit(code or 0)
    sys.exit(code)


def _explain(error: Exception, state: State) -> int:
    """Print ``error`` in one line, or whole with --debug; the exit code that it maps to."""
    if state.debug:
        traceback.print_exception(error)
    cause = first_of_ours(error)
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


def _one_line(message: str) -> str:
    from aexp.log import mask  # noqa: PLC0415 - of no use until something is wrong

    return " ".join(mask(message).split())


def _fail(message: str, code: int) -> int:
    click.echo(f"aexp: error: {message}", err=True)
    return code
