"""Options that commands share, and how they become settings."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from aexp.cli.state import State
from aexp.cli.terminal.output import reserve_stdout
from aexp.errors import ProcessEnded

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = [
    "TARGET",
    "complete_run_id",
    "json_option",
    "with_run_id",
    "with_settings",
    "with_target",
]

# In which each worker of an exploration must have come to the end of the run, unless told.

_F = TypeVar("_F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--database-url", metavar="URL", help="PostgreSQL; without it, the embedded one."),
    click.option(
        "--home",
        # Whose it is, and why that is refused, is told later.
        type=click.Path(file_okay=False, readable=False, path_type=Path),
        metavar="FOLDER",
        help="Folder of the embedded server and of recordings (.aexp).",
    ),
    click.option("--executor-id", metavar="ID", help="Name of this executor (local)."),
    click.option("--loop", type=click.Choice(["uvloop", "asyncio"]), help="Event loop (uvloop)."),
    click.option(
        "--log-format",
        type=click.Choice(["auto", "json", "console"]),
        help="Logs on stderr (auto: console on a terminal, else JSON).",
    ),
    click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        help="Least severity that is logged (info).",
    ),
    click.option("--debug", is_flag=True, default=None, help="Show tracebacks."),
)


def with_settings(command: _F) -> _F:
    """Give ``command`` the shared options, and pass it the settings that they make.

    An option of its own that is named as a setting is a flag for that setting too.
    """

    @functools.wraps(command)
    @click.pass_obj
    def wrapper(state: State | None, /, **options: Any) -> Any:
        # What is slow to import is imported once a command is called, and not for its help.
        from aexp.engine.log_records import adopt_records  # noqa: PLC0415
        from aexp.log import configure_logging  # noqa: PLC0415
        from aexp.settings import Settings, load_settings  # noqa: PLC0415

        flags = {name: options.pop(name) for name in Settings.model_fields if name in options}
        if state is not None:
            state.debug = bool(flags["debug"])
        settings = load_settings(flags)
        if state is not None:
            state.debug = settings.debug
        adopt_records()
        configure_logging(settings.log_format, settings.log_level)
        reserve_stdout()
        try:
            return command(settings, **options)
        except SystemExit as error:
            raise ProcessEnded(error.code) from error

    for option in reversed(_OPTIONS):
        wrapper = option(wrapper)
    return wrapper  # type: ignore[return-value]


def json_option(what: str) -> Callable[[_F], _F]:
    """Make the option ``as_json``, by which a command says ``what`` to programs."""
    return click.option("--json", "as_json", is_flag=True, help=what)


def complete_scenario(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """Complete the name of a scenario in a shell."""
    from aexp.cli.completion import scenarios  # noqa: PLC0415 - of use to a shell alone

    return scenarios(incomplete)


def complete_run_id(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """Complete a RUN_ID in a shell."""
    from aexp.cli.completion import run_ids  # noqa: PLC0415 - of use to a shell alone

    return run_ids(context.params, incomplete)


_RUN_ID = (
    click.argument("run_id", required=False, shell_complete=complete_run_id),
    click.option("--last", is_flag=True, help="The run that was begun last."),
)


def with_run_id(command: _F) -> _F:
    """Give ``command`` a ``run_id``: what is given, or None for --last."""

    @functools.wraps(command)
    def wrapper(*, last: bool, run_id: str | None, **options: Any) -> Any:
        if last and run_id is not None:
            raise click.UsageError("give a RUN_ID or --last, not both")
        if not last and run_id is None:
            raise click.UsageError("Missing argument 'RUN_ID': name a run, or give --last")
        return command(run_id=run_id, **options)

    for parameter in reversed(_RUN_ID):
        wrapper = parameter(wrapper)
    return wrapper  # type: ignore[return-value]


def _assignments(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """Return ``--set key=value`` options as a mapping."""
    read: dict[str, str] = {}
    for value in values:
        key, separator, text = value.partition("=")
        if not separator or not key:
            raise click.BadParameter(f"{value!r} is no assignment: write --set key=value")
        if key in read:
            raise click.BadParameter(f"{key} is set twice: give it once")
        read[key] = text
    return read


TARGET = click.argument(
    "target", metavar="SCENARIO|FILE.py:NAME|MODULE:NAME", shell_complete=complete_scenario
)
_WITH_TARGET = (
    TARGET,
    click.option(
        "--set",
        "given",
        multiple=True,
        callback=_assignments,
        metavar="KEY=VALUE",
        help="A parameter of the scenario; `aexp describe` lists them.",
    ),
)


def with_target(command: _F) -> _F:
    """Give ``command`` a ``target``, and what is ``given`` to it by --set."""
    for parameter in reversed(_WITH_TARGET):
        command = parameter(command)
    return command
