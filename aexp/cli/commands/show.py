"""Commands that only look: ``list``, ``describe``, ``runs``, ``audit`` and ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aexp.cli.options import TARGET, json_option, with_run_id, with_settings

if TYPE_CHECKING:
    from aexp.settings import Settings

__all__ = ["audit", "describe", "list_scenarios", "report", "runs"]

_json_option = json_option("One JSON document on stdout.")


@click.command("list")
@_json_option
@with_settings
def list_scenarios(settings: Settings, as_json: bool) -> int:
    """List the scenarios, built in and installed."""
    from aexp.cli.actions import show

    return show.list_scenarios(settings, as_json=as_json)


@click.command
@TARGET
@_json_option
@with_settings
def describe(settings: Settings, target: str, as_json: bool) -> int:
    """Describe a scenario: its parameters and its promises."""
    from aexp.cli.actions import show

    return show.describe(settings, target, as_json=as_json)


@click.command
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, help="How many (20).")
@_json_option
@with_settings
def runs(settings: Settings, limit: int, as_json: bool) -> int:
    """List the runs in the database, newest first."""
    from aexp.cli.actions import show

    return show.runs(settings, limit, as_json=as_json)


@click.command
@with_run_id
@_json_option
@with_settings
def audit(settings: Settings, run_id: str | None, as_json: bool) -> int:
    """Print the account of a run from what stands in the database. Runs nothing."""
    from aexp.cli.actions import show

    return show.audit(settings, run_id, as_json=as_json)


@click.command
@with_run_id
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path, allow_dash=True),
    required=True,
    metavar="FILE",
    help="The file to write, or - for stdout.",
)
@with_settings
def report(settings: Settings, run_id: str | None, path: Path) -> int:
    """Write a run's account and timeline as one HTML file, to be opened offline. Runs nothing.

    The exit code tells whether it was written, not whether the promises held.
    """
    from aexp.cli.actions import report

    return report.report(settings, run_id, path)
