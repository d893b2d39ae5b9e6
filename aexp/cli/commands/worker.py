"""``aexp worker``, ``aexp workers`` and ``aexp recover``: executors beside the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from aexp.cli.options import json_option, with_settings

if TYPE_CHECKING:
    from aexp.settings import Settings

__all__ = ["recover", "worker", "workers"]

_json_option = json_option("One JSON document on stdout.")


@click.command
@click.option(
    "--max-active-runs",
    type=click.IntRange(1, 1000),
    default=4,
    metavar="N",
    help="Work on so many runs at a time at most (4).",
)
@with_settings
def worker(settings: Settings, max_active_runs: int) -> int:
    """Work on the runs of a service, beside it, until a signal ends it.

    Its executor is named after the host unless --executor-id says otherwise: a worker that is
    started again under its name recovers its own work.
    """
    from aexp.cli.actions import worker

    return worker.worker(settings, max_active_runs)


@click.command
@_json_option
@with_settings
def workers(settings: Settings, as_json: bool) -> int:
    """List the executors: which are alive, what they have claimed, when they last wrote."""
    from aexp.cli.actions import worker

    return worker.workers(settings, as_json=as_json)


@click.command
@click.argument("executor", metavar="EXECUTOR_ID")
@_json_option
@with_settings
def recover(settings: Settings, executor: str, as_json: bool) -> int:
    """Hand the work of an executor that is dead to the living.

    What it has claimed goes back to its queues. Refused while a process of it lives; one that is
    only started again under its name recovers its own work and needs no help.
    """
    from aexp.cli.actions import worker

    return worker.recover(settings, executor, as_json=as_json)
