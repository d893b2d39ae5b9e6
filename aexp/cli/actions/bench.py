"""Carries out what ``aexp bench`` is asked for, and writes what came of it."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.progress import TextColumn, TimeRemainingColumn

from aexp.bench.analysis.result import Result
from aexp.bench.rounds import OnProgress, Plan, RoundsProgress, measure
from aexp.bench.workloads.lookup import find_workload, growth_workloads, known_workloads
from aexp.cli.ending import UNWIND_S, end_at_once, end_with_databases
from aexp.cli.files import check_place, write_whole
from aexp.cli.terminal.bar import make_bar
from aexp.cli.terminal.bench_table import print_result
from aexp.cli.terminal.output import out
from aexp.cli.terminal.progress import REFRESH_S
from aexp.database import DatabaseUrl, locate_database
from aexp.errors import UsageError
from aexp.processes.loop import run_on_loop
from aexp.processes.signals import unwind_on_signals
from aexp.settings import Settings

__all__ = ["BenchOptions", "run_bench"]

# What two minutes leave beside starting, dropping databases and drawing; and the most rounds.
_QUICK_S = 110.0
_QUICK_ROUNDS = 5
_STDOUT = Path("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """What to measure, and where to write it.

    ``rounds`` None is as many as --quick has time for.
    """

    names: Sequence[str]
    rounds: int | None
    quick: bool
    scale: bool
    seed: int
    json_path: Path | None
    report_path: Path | None


def run_bench(settings: Settings, options: BenchOptions) -> int:
    """Measure, print, and write; the exit code."""
    _check_places(options.json_path, options.report_path)
    wanted = (*(options.names or known_workloads()), *(growth_workloads() if options.scale else ()))
    plan = Plan(
        workloads=[find_workload(name) for name in dict.fromkeys(wanted)],
        rounds=options.rounds or _QUICK_ROUNDS,
        seed=options.seed,
        quick=options.quick,
        budget_s=_QUICK_S if options.rounds is None else None,
    )
    result = _measure(plan, settings, locate_database(settings))
    if _STDOUT not in {options.json_path, options.report_path}:
        print_result(result)
    if options.json_path is not None:
        _write(options.json_path, json.dumps(result.as_json(), indent=2) + "\n")
    if options.report_path is not None:
        # matplotlib takes a second to import.
        from aexp.bench.present.page import render_bench  # noqa: PLC0415

        _write(options.report_path, render_bench(result))
    if result.failure is not None:
        raise result.failure
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
    async def main() -> Result:
        give_up = partial(end_with_databases, "bench")
        async with unwind_on_signals(end_at_once, give_up, UNWIND_S) as stop:
            with _bar() as tell:
                return await measure(plan, settings, server, tell, stop)

    return run_on_loop(settings.loop, main)


@contextmanager
def _bar() -> Iterator[OnProgress]:
    """Draw how far the bench is on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    failed = TextColumn("{task.fields[failed]}", style="red")
    bar = make_bar(TimeRemainingColumn(), failed, refresh_s=REFRESH_S)
    task = bar.add_task("bench", total=None, failed="")

    def tell(where: RoundsProgress) -> None:
        said = f"{where.failed} failed" if where.failed else ""
        description = f"round {where.round_no}  {where.cell}"
        bar.update(
            task, completed=where.done, total=where.total, description=description, failed=said
        )

    with bar:
        yield tell
