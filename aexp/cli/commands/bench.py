"""``aexp bench``: workloads in several variants, measured against one another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aexp.cli.options import with_settings

if TYPE_CHECKING:
    from aexp.settings import Settings

__all__ = ["bench"]

ROUNDS = 5
_File = click.Path(path_type=Path, allow_dash=True)


@click.command
@click.argument("names", metavar="[WORKLOAD]...", nargs=-1)
@click.option(
    "--rounds",
    type=click.IntRange(1, 1000),
    metavar="N",
    help=f"Measure every cell so often ({ROUNDS}; --quick: as often as two minutes allow).",
)
@click.option("--quick", is_flag=True, help="Less of everything, and an answer in two minutes.")
@click.option(
    "--scale", is_flag=True, help="Also how cost grows, with 10^3 to 10^6 messages; takes an hour."
)
@click.option("--seed", type=int, default=0, metavar="S", help="Orders the cells of a round (0).")
@click.option("--json", "json_path", type=_File, metavar="FILE", help="All figures; - is stdout.")
@click.option(
    "--report",
    "report_path",
    type=_File,
    metavar="FILE",
    help="A page with plots, to be opened offline.",
)
@with_settings
def bench(
    settings: Settings,
    names: tuple[str, ...],
    rounds: int | None,
    quick: bool,
    scale: bool,
    seed: int,
    json_path: Path | None,
    report_path: Path | None,
) -> int:
    """Measure async against sync, and both against what the machine can do.

    Each variant of a workload runs in a process of its own on a fresh database, and its result is
    checked there; figures that others are divided by come from the same round. Without WORKLOAD all
    are measured. The exit code is 1 when a check failed, and not when a target is missed.
    """
    from aexp.cli.actions.bench import BenchOptions, run_bench

    return run_bench(
        settings,
        BenchOptions(
            names=names,
            rounds=rounds or (None if quick else ROUNDS),
            quick=quick,
            scale=scale,
            seed=seed,
            json_path=json_path,
            report_path=report_path,
        ),
    )
