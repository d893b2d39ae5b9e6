"""Options that commands share, and how they become settings."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from aexp.cli.output import reserve_stdout
from aexp.cli.state import State
from aexp.log import configure_logging
from aexp.settings import Settings, load_settings

__all__ = ["with_settings", "with_target"]

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--database-url", metavar="URL", help="PostgreSQL; without it, the embedded one."),
    click.option(
        "--home",
        # Whose it is, and why that is refused, is told later.
        type=click.Path(file_okay=False, readable=False, path_type=Path),
        metavar="FOLDER",
        help="Folder of the embedded server (.aexp).",
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


def with_settings(command: F) -> F:
    """Give ``command`` the shared options, and pass it the settings that they make.

    An option of its own that is named as a setting is a flag for that setting too.
    """

    @functools.wraps(command)
    @click.pass_obj
    def wrapper(state: State | None, /, **options: Any) -> Any:
        flags = {name: options.pop(name) for name in Settings.model_fields if name in options}
        if state is not None:
            state.debug = bool(flags["debug"])
        settings: Settings = load_settings(flags)
        if state is not None:
            state.debug = settings.debug
        configure_logging(settings.log_format, settings.log_level)
        reserve_stdout()
        return command(settings, **options)

    for option in reversed(_OPTIONS):
        wrapper = option(wrapper)
    return wrapper  # type: ignore[return-value]


def _assignments(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """``--set key=value`` options as a mapping."""
    read: dict[str, str] = {}
    for value in values:
        key, separator, text = value.partition("=")
        if not separator or not key:
            raise click.BadParameter(f"{value!r} is no assignment: write --set key=value")
        if key in read:
            raise click.BadParameter(f"{key} is set twice: give it once")
        read[key] = text
    return read


_TARGET = (
    click.argument("target", metavar="SCENARIO|FILE.py:NAME|MODULE:NAME"),
    click.option(
        "--set",
        "given",
        multiple=True,
        callback=_assignments,
        metavar="KEY=VALUE",
        help="A parameter of the scenario; `aexp describe` lists them.",
    ),
)


def with_target(command: F) -> F:
    """Give ``command`` a ``target``, and what is ``given`` to it by --set."""
    for parameter in reversed(_TARGET):
        command = parameter(command)
    return command
