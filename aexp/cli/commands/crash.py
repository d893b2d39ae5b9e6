"""``aexp crash``: kill a run at every durable write, and show that its promises hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aexp.cli.options import json_option, with_settings, with_target
from aexp.crash.judge.points import SIDES, Side

if TYPE_CHECKING:
    from aexp.settings import Settings

__all__ = ["crash"]

FORMATS = ("text", "json", "github", "sarif", "junit")


def _sides(_context: click.Context, _parameter: click.Parameter, value: str) -> Sequence[Side]:
    sides = [side.strip() for side in value.split(",")]
    for side in sides:
        if side not in SIDES:
            raise click.BadParameter(f"{side!r} is none of {', '.join(SIDES)}")
    return [side for side in SIDES if side in sides]


def _points(_context: click.Context, parameter: click.Parameter, value: str) -> int | None:
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


@click.command
@with_target
@click.option(
    "--sides",
    default=",".join(SIDES),
    callback=_sides,
    metavar="SIDES",
    help="On which sides of a write: before, after, lost-ack (all three).",
)
@click.option(
    "--points",
    default="all",
    callback=_points,
    metavar="N|all",
    help="So many points at most, of every kind of write (all).",
)
@click.option(
    "--double",
    default="0",
    callback=_points,
    metavar="N|all",
    help="Then kill a second time, during the recovery: so many pairs at most (0).",
)
@click.option(
    "--postgres",
    default="0",
    is_flag=False,
    flag_value="all",
    callback=_points,
    metavar="[N|all]",
    help="Then stop a private PostgreSQL at once, and start it: at so many points at most (0).",
)
@click.option(
    "--stranded",
    is_flag=True,
    help="Also start the wrong process after a kill: what it leaves lying must be told.",
)
@click.option(
    "--zombie",
    default="0",
    is_flag=False,
    flag_value="all",
    callback=_points,
    metavar="[N|all]",
    help="Also stop the executor at a write, let another take its work over, then let it go on: at"
    " so many writes at most (0; all without a number).",
)
@click.option("--seed", type=int, default=0, metavar="S", help="Chooses the points (0).")
@click.option(
    "--jobs", type=click.IntRange(1, 64), metavar="J", help="Points at a time (one a core)."
)
@click.option("--all-writes", is_flag=True, help="Also at bookkeeping that no workflow does.")
@click.option(
    "--deadline",
    "deadline_s",
    type=click.FloatRange(0.1, 86_400),
    metavar="S",
    help="Seconds in which a process must come to the end of the run (30, or three times what the"
    " run takes without a fault, which may take 120).",
)
@click.option(
    "--template",
    metavar="DATABASE",
    help="Give each point a copy of this database of the same server, with tables of yours.",
)
@click.option(
    "--expect-error",
    is_flag=True,
    help="The workflow ends in error when it is left alone, as it should.",
)
@click.option(
    "--once",
    multiple=True,
    metavar="STEP",
    help="A step whose body must never begin in two processes; may be given more than once.",
)
@click.option(
    "--ignore-table",
    "ignored_tables",
    multiple=True,
    metavar="TABLE",
    help="A table whose rows may differ: of attempts, say; may be given more than once.",
)
@click.option(
    "--database-env",
    "variables",
    multiple=True,
    metavar="NAME",
    help="Give each point a copy of the database whose URL stands in this variable, too, and lead"
    " the variable to the copy. Several times for several databases.",
)
@click.option(
    "--http",
    "stubs",
    multiple=True,
    callback=_stubs,
    metavar="NAME=FILE.yaml",
    help="Have a stub of a service answer as the file says, and put its address into this variable."
    " A request that changes something and comes twice without an Idempotency-Key is named. Several"
    " times for several services.",
)
@click.option(
    "--allow-outside",
    is_flag=True,
    help="Let the workflow connect to any other PostgreSQL, whatever it leaves there.",
)
@click.option("--replay", metavar="POINT", help="Only this point, with the logs of its processes.")
@click.option(
    "--report",
    "page",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="Write what was found as one page, to be opened offline.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="What is written on stdout: text, one JSON object, text with workflow commands of GitHub"
    " Actions, SARIF 2.1.0, or JUnit's XML (text).",
)
@json_option("One JSON object on stdout: --format json.")
@with_settings
def crash(
    settings: Settings,
    target: str,
    given: Mapping[str, str],
    page: Path | None,
    form: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Kill a run at every durable write, start it again, and judge what it promises.

    Each point is an experiment of its own, in a database of its own: the run comes to one of its
    writes, a fault strikes just before or just after it, and the run must still come to the end
    that it comes to when it is left alone.
    """
    from aexp.cli.actions import crash

    if as_json and form not in {None, "json"}:
        raise click.UsageError(f"--json is --format json, and not {form}: leave one out")
    form = "json" if as_json else form or "text"
    return crash.crash(settings, target, given, page, options, form=form)
