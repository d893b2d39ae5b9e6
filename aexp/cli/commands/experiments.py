"""The options of every command that makes experiments on a workflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from aexp.cli.options import json_option, with_settings, with_target

__all__ = ["FORMATS", "chosen_format", "read_points", "with_experiments"]

_F = TypeVar("_F", bound=Callable[..., Any])

FORMATS = ("text", "json", "github", "sarif", "junit")


def read_points(_context: click.Context, parameter: click.Parameter, value: str) -> int | None:
    """Read a number of points, None for all of them."""
    if value == "all":
        return None
    least = 1 if parameter.name == "points" else 0
    if not value.isdecimal() or int(value) < least:
        raise click.BadParameter(f"{value!r} is neither a number from {least} on nor 'all'")
    return int(value)


def _stubs(
    _context: click.Context, _parameter: click.Parameter, value: Sequence[str]
) -> Mapping[str, str]:
    stubs: dict[str, str] = {}
    for given in value:
        name, _, file = given.partition("=")
        if not name or not file:
            raise click.BadParameter(
                f"{given!r} is no NAME=FILE.yaml: give a variable, and the file of its stub"
            )
        if name in stubs:
            raise click.BadParameter(f"{name} is given twice: leave one out")
        stubs[name] = file
    return stubs


def chosen_format(form: str | None, *, as_json: bool) -> str:
    """Return the form in which the outcome is printed."""
    if as_json and form not in {None, "json"}:
        raise click.UsageError(f"--json is --format json, and not {form}: leave one out")
    return "json" if as_json else form or "text"


_CHOICES = (
    click.option(
        "--points",
        default="all",
        callback=read_points,
        metavar="N|all",
        help="So many points at most, of every kind of write (all).",
    ),
    click.option("--seed", type=int, default=0, metavar="S", help="Chooses the points (0)."),
    click.option(
        "--jobs", type=click.IntRange(1, 64), metavar="J", help="Points at a time (one a core)."
    ),
    click.option(
        "--deadline",
        "deadline_s",
        type=click.FloatRange(0.1, 86_400),
        metavar="S",
        help="Seconds in which a process must come to the end of the run (30, or three times what"
        " the run takes without a fault, which may take 120).",
    ),
    click.option(
        "--template",
        metavar="DATABASE",
        help="Give each point a copy of this database of the same server, with tables of yours.",
    ),
    click.option(
        "--expect-error",
        is_flag=True,
        help="The workflow ends in error when it is left alone, as it should.",
    ),
    click.option(
        "--database-env",
        "variables",
        multiple=True,
        metavar="NAME",
        help="Give each point a copy of the database whose URL stands in this variable, too, and"
        " lead the variable to the copy. Several times for several databases.",
    ),
    click.option(
        "--http",
        "stubs",
        multiple=True,
        callback=_stubs,
        metavar="NAME=FILE.yaml",
        help="Have a stub of a service answer as the file says, and put its address into this"
        " variable. A request that changes something and comes twice without an Idempotency-Key is"
        " named. Several times for several services.",
    ),
    click.option(
        "--allow-outside",
        is_flag=True,
        help="Let the workflow connect to any other PostgreSQL, whatever it leaves there.",
    ),
    click.option(
        "--replay", metavar="POINT", help="Only this point, with the logs of its processes."
    ),
    click.option(
        "--report",
        "page",
        type=click.Path(path_type=Path),
        metavar="FILE.html",
        help="Write what was found as one page, to be opened offline.",
    ),
    click.option(
        "--format",
        "form",
        type=click.Choice(FORMATS),
        help="What is written on stdout: text, one JSON object, text with workflow commands of"
        " GitHub Actions, SARIF 2.1.0, or JUnit's XML (text).",
    ),
    json_option("One JSON object on stdout: --format json."),
    with_settings,
)


def with_experiments(command: _F) -> _F:
    """Give ``command`` a target, and the options of experiments on it, before its own."""
    decorated: Any = command
    for choice in reversed(_CHOICES):
        decorated = choice(decorated)
    return with_target(decorated)  # type: ignore[no-any-return]
