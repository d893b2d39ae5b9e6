"""``aexp run``, ``aexp resume``, and ``aexp work``, which they start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from aexp.cli.options import (
    complete_run_id,
    json_option,
    with_run_id,
    with_settings,
    with_target,
)
from aexp.runs.kill_plan import MOST_KILLS

if TYPE_CHECKING:
    from aexp.settings import Settings

__all__ = ["resume", "run", "work"]

_EXECUTION_OPTIONS = (
    click.option(
        "--kills",
        type=click.IntRange(0, MOST_KILLS),
        default=0,
        metavar="N",
        help="Run in a child process, kill it N times with SIGKILL, start it again.",
    ),
    click.option(
        "--seed", type=int, default=0, metavar="S", help="Chooses the moments of the kills (0)."
    ),
    click.option(
        "--crash-after",
        type=click.IntRange(1),
        metavar="N",
        help="Kill this very process after its N-th unit of work.",
    ),
    json_option("One JSON object on stdout."),
)


def _with_execution_options(command: Any) -> Any:
    for option in reversed(_EXECUTION_OPTIONS):
        command = option(command)
    return command


@click.command
@with_target
@click.option(
    "--run-id",
    metavar="ID",
    help="Begin the run under this id, or go on with it.",
    shell_complete=complete_run_id,
)
@_with_execution_options
@with_settings
def run(
    settings: Settings, target: str, given: Mapping[str, str], run_id: str | None, **options: Any
) -> int:
    """Run a scenario, or a workflow of your own, and print its account.

    With the --run-id of an earlier run it goes on where that one stopped.
    """
    from aexp.cli.actions import run

    return run.run(settings, target, given, run_id, run.RunOptions(**options))


@click.command
@with_run_id
@_with_execution_options
@with_settings
def resume(settings: Settings, run_id: str | None, **options: Any) -> int:
    """Go on with a run: what is unfinished is finished, what is done is not done again."""
    from aexp.cli.actions import run

    return run.resume(settings, run_id, run.RunOptions(**options))


@click.command(hidden=True)
@click.argument("run_id")
@click.option("--hosted", is_flag=True, help="For a host, which waits for other executors.")
@click.option("--strike", metavar="SIDE:N", help="Where to kill itself, for a supervisor.")
@with_settings
def work(settings: Settings, run_id: str, hosted: bool, strike: str | None) -> int:
    """Work on a run for a supervisor, telling it on stdout how far it has come."""
    from aexp.cli.actions import run

    return run.work(settings, run_id, hosted=hosted, strike=strike)
