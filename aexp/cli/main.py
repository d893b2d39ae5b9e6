"""The ``aexp`` command and what becomes of its errors."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn

import click

import aexp
from aexp.cli.groups import Group
from aexp.cli.state import State
from aexp.cli.terminal.output import give_up_stdout, is_reserved, open_missing_streams, out
from aexp.errors import DatabaseError, OutputClosed, first_of_ours, sole_error

__all__ = ["cli", "main"]

_COMPLETION = "_AEXP_COMPLETE"
# The first sentence of a command's help is shown whole.
_SENTENCE = 1000

# Where each command is, in the order in which somebody new needs them.
_SECTIONS: Mapping[str, Mapping[str, str]] = {
    "Run workflows": {
        "list": "aexp.cli.commands.show:list_scenarios",
        "describe": "aexp.cli.commands.show:describe",
        "run": "aexp.cli.commands.run:run",
        "resume": "aexp.cli.commands.run:resume",
    },
    "See what they did": {
        "runs": "aexp.cli.commands.show:runs",
        "audit": "aexp.cli.commands.show:audit",
        "report": "aexp.cli.commands.show:report",
    },
    "Test and measure": {
        "crash": "aexp.cli.commands.crash:crash",
        "determinism": "aexp.cli.commands.determinism:determinism",
        "upgrade": "aexp.cli.commands.upgrade:upgrade",
        "bench": "aexp.cli.commands.bench:bench",
    },
    "Serve": {
        "serve": "aexp.cli.commands.serve:serve",
        "worker": "aexp.cli.commands.worker:worker",
        "workers": "aexp.cli.commands.worker:workers",
        "recover": "aexp.cli.commands.worker:recover",
    },
    "Look inside": {
        "db": "aexp.cli.commands.db:db",
    },
}
_HOMES = {
    **{name: home for section in _SECTIONS.values() for name, home in section.items()},
    "work": "aexp.cli.commands.run:work",
}


class _Commands(Group):
    """The commands of ``_HOMES``, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _HOMES:
            return None
        module, _, name = _HOMES[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, _HOMES))
        for section, names in _SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl(
                    [
                        (name.ljust(width), command.get_short_help_str(_SENTENCE))
                        for name, command in self._commands(ctx, names)
                    ]
                )

    def _commands(
        self, ctx: click.Context, names: Mapping[str, str]
    ) -> Iterator[tuple[str, click.Command]]:
        for name in names:
            command = self.get_command(ctx, name)
            assert command is not None
            yield name, command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(aexp.__version__, prog_name="aexp")
def cli() -> None:
    """A laboratory for durable asyncio: run DBOS workflows, kill them, resume them, and account
    for every message.
    """  # noqa: D401 - the help of aexp itself


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: 0 well, 1 broken promise, 2 usage, 3 database, 130 interrupted.

    Without a command the help goes to stdout, and the code is 2. When whoever reads stdout has read
    enough, the code is 141 without a word: a shell says so of a program that SIGPIPE ended.
    """
    open_missing_streams()
    if _COMPLETION in os.environ:
        # Not at the top: of use to nobody else.
        from aexp.cli.completion import complete  # noqa: PLC0415

        sys.exit(complete(cli, _COMPLETION))
    state = State()
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments, state)
    except click.exceptions.Exit as ended:
        code = ended.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        if sys.stderr.isatty():
            # The terminal shows ^C in the line.
            click.echo(err=True)
        code = _fail("interrupted", 130)
    except click.ClickException as error:
        code = _fail(_one_line(error.format_message()), error.exit_code)
    except Exception as error:
        code = _explain(error, state)
    if code == DatabaseError.exit_code or "obstore" in sys.modules:
        _end_at_once(code or 0)
    sys.exit(code)


def _end_at_once(code: int) -> NoReturn:
    """End without waiting for threads, as Python else does at its end.

    DBOS's may wait for a database that does not come back, again and again for ever. One of
    obstore's may wait for a store that hangs, and would print a backtrace that tells nobody
    anything were Python taken down under it.
    """
    out().flush()
    sys.stderr.flush()
    os._exit(code)


def _run(arguments: Sequence[str], state: State) -> int:
    """Run the command; its exit code."""
    try:
        with cli.make_context("aexp", list(arguments), obj=state) as context:
            code: int = cli.invoke(context)
            return code
    except click.exceptions.NoArgsIsHelpError as bare:
        # Its message is the help.
        click.echo(bare.format_message())
        return bare.exit_code


def _explain(error: Exception, state: State) -> int:
    """Print ``error`` in one line, or whole with --debug; the exit code that it maps to."""
    cause, sole = first_of_ours(error), sole_error(error)
    if cause is None and isinstance(sole, BrokenPipeError) and not is_reserved():
        cause = OutputClosed()
    if isinstance(cause, OutputClosed):
        give_up_stdout()
        return cause.exit_code
    if state.debug:
        import traceback  # noqa: PLC0415

        traceback.print_exception(error)
    if cause is not None:
        return _fail(_one_line(str(cause)), cause.exit_code)
    if isinstance(sole, OSError) and sole.errno == errno.ENOSPC:
        give_up_stdout()
        return _fail(f"cannot write: {sole.strerror}", 1)
    what = f"{type(sole).__name__}: {_one_line(str(sole))}"
    return _fail(f"{what} (a bug in aexp: --debug shows where)", 1)


def _one_line(message: str) -> str:
    from aexp.log import mask  # noqa: PLC0415 - of no use until something is wrong

    return " ".join(mask(message).split())


def _fail(message: str, code: int) -> int:
    click.echo(f"aexp: error: {message}", err=True)
    return code
