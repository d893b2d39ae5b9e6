"""``aexp crash``: kill a run at every durable write, and show that its promises hold."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aexp.cli.files import check_place, write_whole
from aexp.cli.options import with_settings, with_target
from aexp.crash.plan import SIDES, Side, parse_point
from aexp.database import locate_database
from aexp.errors import Interrupted
from aexp.execution import leave_terminal_clean, run_on_loop
from aexp.log import configure_logging
from aexp.scenarios import find_scenario
from aexp.settings import Settings
from aexp.stopping import stop_on_signals

if TYPE_CHECKING:
    from aexp.crash.request import Request
    from aexp.crash.results import Exploration

__all__ = ["crash"]

_DEADLINE_S = 30.0


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
    default=_DEADLINE_S,
    metavar="S",
    help=f"Seconds in which a process must come to the end of the run ({_DEADLINE_S:g}).",
)
@click.option(
    "--template",
    metavar="DATABASE",
    help="Give each point a copy of this database of the same server, with tables of yours.",
)
@click.option("--replay", metavar="POINT", help="Only this point, with the logs of its processes.")
@click.option(
    "--report",
    "page",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="Write what was found as one page, to be opened offline.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@with_settings
def crash(
    settings: Settings,
    target: str,
    given: Mapping[str, str],
    page: Path | None,
    as_json: bool,  # noqa: FBT001
    **options: Any,
) -> int:
    """Kill a run at every durable write, start it again, and judge what it promises.

    Each point is an experiment of its own, in a database of its own: the run comes to one of its
    writes, a fault strikes just before or just after it, and the run must still come to the end
    that it comes to when it is left alone.
    """
    # It brings the proxy and all that explores, which no other command needs.
    from aexp.cli.crash_progress import show_tally  # noqa: PLC0415
    from aexp.cli.crash_report import print_exploration  # noqa: PLC0415
    from aexp.crash.explorer import Explorer  # noqa: PLC0415

    if page is not None:
        check_place(page, "crash.html")
    request = _request(settings, target, given, options)
    configure_logging(settings.log_format, settings.log_level)
    url = locate_database(settings)
    explorer = Explorer(request, settings, url)

    async def main() -> Exploration:
        async with stop_on_signals(_end_at_once) as stop, show_tally(explorer):
            return await explorer.explore(stop)

    exploration = run_on_loop(settings.loop, main)
    print_exploration(exploration, as_json=as_json)
    if page is not None:
        from aexp.crash.page import render_exploration  # noqa: PLC0415

        write_whole(page, render_exploration(exploration))
    if exploration.failure is not None:
        raise exploration.failure
    if exploration.interrupted:
        return Interrupted.exit_code
    return 0 if exploration.ok else 1


def _request(
    settings: Settings, target: str, given: Mapping[str, str], options: Mapping[str, Any]
) -> Request:
    from aexp.crash.request import Request  # noqa: PLC0415 - see above

    normal, scenario = find_scenario(target)
    chosen = dict(options)
    replay = chosen.pop("replay")
    chosen["jobs"] = chosen["jobs"] or os.cpu_count() or 1
    return Request(
        target=normal,
        scenario=scenario,
        parameters=scenario.from_text(given),
        replay=parse_point(replay) if replay is not None else None,
        command=_command(settings, target, given, chosen),
        **chosen,
    )


def _command(
    settings: Settings, target: str, given: Mapping[str, str], chosen: Mapping[str, Any]
) -> Sequence[str]:
    """The command that makes the same experiments: all that they depend on and is no default."""
    command = ["aexp", "crash", target]
    command += [part for name, value in given.items() for part in ("--set", f"{name}={value}")]
    command += ["--seed", str(chosen["seed"])] if chosen["seed"] else []
    command += ["--template", chosen["template"]] if chosen["template"] else []
    command += ["--all-writes"] if chosen["all_writes"] else []
    if chosen["deadline_s"] != _DEADLINE_S:
        command += ["--deadline", f"{chosen['deadline_s']:g}"]
    for name in ("executor_id", "loop"):
        value = getattr(settings, name)
        if value != Settings.model_fields[name].default:
            command += [f"--{name.replace('_', '-')}", value]
    return command


def _end_at_once() -> None:
    """A second signal. What was started ends with this process: the workers see that their parent's
    stdin is closed; the next exploration drops the databases."""
    leave_terminal_clean()
    click.echo("aexp: error: interrupted", err=True)
    os._exit(Interrupted.exit_code)
