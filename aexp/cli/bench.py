"""``aexp bench``: workloads in several variants, measured against one another."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from aexp.bench.registry import find_workload, growth_workloads, known_workloads
from aexp.bench.result import Result
from aexp.bench.rounds import Plan, Teller, Where, measure
from aexp.cli.bench_table import print_result
from aexp.cli.files import check_place, write_whole
from aexp.cli.options import with_settings
from aexp.cli.output import out
from aexp.database import DatabaseUrl, locate_database
from aexp.errors import UsageError
from aexp.execution import leave_terminal_clean, run_on_loop
from aexp.settings import Settings
from aexp.stopping import Stop, stop_on_signals

__all__ = ["bench"]

ROUNDS = 5
# What two minutes leave beside starting, dropping databases and drawing.
_QUICK_S = 110.0
_INTERRUPTED = 130
_STDOUT = Path("-")
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
    quick: bool,  # noqa: FBT001
    scale: bool,  # noqa: FBT001
    seed: int,
    json_path: Path | None,
    report_path: Path | None,
) -> int:
    """Measure async against sync, and both against what the machine can do.

    Each variant of a workload runs in a process of its own on a fresh database, and its result is
    checked there; figures that others are divided by come from the same round. Without WORKLOAD all
    are measured. The exit code is 1 when a check failed, and not when a target is missed.
    """
    _check_places(json_path, report_path)
    wanted = dict.fromkeys((names or known_workloads()) + (growth_workloads() if scale else ()))
    plan = Plan(
        workloads=[find_workload(name) for name in wanted],
        rounds=rounds or ROUNDS,
        seed=seed,
        quick=quick,
        budget_s=_QUICK_S if quick and rounds is None else None,
    )
    result = _measure(plan, settings, locate_database(settings))
    if _STDOUT not in {json_path, report_path}:
        print_result(result)
    if json_path is not None:
        _write(json_path, json.dumps(result.as_json(), indent=2) + "\n")
    if report_path is not None:
        # matplotlib takes a second to import.
        from aexp.bench.page import render_bench  # noqa: PLC0415

        _write(report_path, render_bench(result))
    return 1 if result.failed else 0


def _check_places(json_path: Path | None, report_path: Path | None) -> None:
    """Say what is wrong with the files before anything is measured."""
    if report_path is not None and importlib.util.find_spec("matplotlib") is None:
        raise UsageError(
            "--report draws with matplotlib, which is not there: install 'aexp[bench]'"
        )
    if json_path == report_path == _STDOUT:
        raise UsageError("--json and --report cannot both go to stdout: name a file for one")
    for path, example in ((json_path, "bench.json"), (report_path, "bench.html")):
        if path is not None and path != _STDOUT:
            check_place(path, example)


def _write(path: Path, text: str) -> None:
    if path == _STDOUT:
        out().write(text)
        out().flush()
    else:
        write_whole(path, text)


def _measure(plan: Plan, settings: Settings, server: DatabaseUrl) -> Result:
    results: list[Result] = []

    async def main() -> None:
        with _bar() as tell:
            async with stop_on_signals(_end_at_once) as stop, anyio.create_task_group() as group:
                group.start_soon(_cancel, stop, group.cancel_scope)
                results.append(await measure(plan, settings, server, tell))
                group.cancel_scope.cancel()

    run_on_loop(settings.loop, main)
    if not results:
        raise click.Abort
    return results[0]


async def _cancel(stop: Stop, scope: anyio.CancelScope) -> None:
    await stop.event.wait()
    scope.cancel()


def _end_at_once() -> None:
    """A second signal. The cell's process ends by itself; the next bench drops the databases."""
    leave_terminal_clean()
    click.echo("aexp: error: interrupted", err=True)
    os._exit(_INTERRUPTED)


@contextmanager
def _bar() -> Iterator[Teller]:
    """Draws how far the bench is on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}", style="red"),
        console=Console(stderr=True),
        transient=True,
        redirect_stderr=True,
    )
    task = bar.add_task("bench", total=None, failed="")

    def tell(where: Where) -> None:
        failed = f"{where.failed} failed" if where.failed else ""
        description = f"round {where.round_no}  {where.cell}"
        bar.update(
            task, completed=where.done, total=where.total, description=description, failed=failed
        )

    with bar:
        yield tell
