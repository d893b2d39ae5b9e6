"""``aexp crash``: kill a run at every durable write, and show that its promises hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aexp.cli.commands.experiments import chosen_format, read_points, with_experiments
from aexp.crash.judge.durations import Down, parse_down
from aexp.crash.judge.points import SIDES, Side
from aexp.errors import UsageError

if TYPE_CHECKING:
    from aexp.settings import Settings

__all__ = ["crash"]


def _sides(_context: click.Context, _parameter: click.Parameter, value: str) -> Sequence[Side]:
    sides = [side.strip() for side in value.split(",")]
    for side in sides:
        if side not in SIDES:
            raise click.BadParameter(f"{side!r} is none of {', '.join(SIDES)}")
    return [side for side in SIDES if side in sides]


def _downtimes(
    _context: click.Context, _parameter: click.Parameter, value: Sequence[str]
) -> Sequence[Down]:
    try:
        return [parse_down(each) for each in value]
    except UsageError as error:
        raise click.BadParameter(str(error)) from error


@click.command
@click.option(
    "--sides",
    default=",".join(SIDES),
    callback=_sides,
    metavar="SIDES",
    help="On which sides of a write: before, after, lost-ack (all three).",
)
@click.option(
    "--double",
    default="0",
    callback=read_points,
    metavar="N|all",
    help="Then kill a second time, during the recovery: so many pairs at most (0).",
)
@click.option(
    "--postgres",
    default="0",
    is_flag=False,
    flag_value="all",
    callback=read_points,
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
    callback=read_points,
    metavar="[N|all]",
    help="Also stop the executor at a write, let another take its work over, then let it go on: at"
    " so many writes at most (0; all without a number).",
)
@click.option(
    "--down",
    multiple=True,
    callback=_downtimes,
    metavar="DURATION|deadlines",
    help="Also let nothing live for so long after a kill: 3d, 12h, 90s; or until just before, and"
    " just after, each deadline of the run. May be given more than once.",
)
@click.option("--all-writes", is_flag=True, help="Also at bookkeeping that no workflow does.")
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
@with_experiments
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

    chosen = chosen_format(form, as_json=as_json)
    return crash.explore(settings, target, given, page, options, form=chosen, command="crash")
