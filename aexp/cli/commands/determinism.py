"""``aexp determinism``: replay a workflow where the clock, chance, order or machine is another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aexp.cli.commands.experiments import chosen_format, with_experiments
from aexp.crash.judge.worlds import World, parse_worlds
from aexp.errors import UsageError

if TYPE_CHECKING:
    from aexp.settings import Settings

__all__ = ["determinism"]


def _worlds(_context: click.Context, _parameter: click.Parameter, value: str) -> frozenset[World]:
    try:
        return parse_worlds(value, ",")
    except UsageError as error:
        raise click.BadParameter(str(error)) from error


@click.command
@click.option(
    "--worlds",
    default=",".join(World),
    callback=_worlds,
    metavar="WORLDS",
    help="What is otherwise for a replay: clock, random, hashes, order, environment (all five).",
)
@with_experiments
def determinism(
    settings: Settings,
    target: str,
    given: Mapping[str, str],
    page: Path | None,
    form: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Replay a workflow from each of its checkpoints where something else is otherwise.

    A run is cut after each checkpoint, and a fresh process goes on from there a day later, with
    other random numbers, sets in another order, tasks that end in another order, on another
    machine. It must call the steps that it called before, with the same arguments.

    Example: aexp determinism checkout.py:checkout --set order=A17
    """
    from aexp.cli.actions import crash

    chosen = chosen_format(form, as_json=as_json)
    return crash.explore(settings, target, given, page, options, form=chosen, command="determinism")
