"""Is the workflow right when it is left alone: does it end, and is it a function of its input and
of what its steps returned? Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.endings import (
    describe_paths,
    describe_running,
    forgotten_failures,
    shorten,
)
from aexp.crash.judge.fault_free import FaultFreeRuns
from aexp.crash.judge.requests import describe_requests
from aexp.crash.judge.rows import unsteady_tables
from aexp.crash.judge.verdicts import judge_experiment
from aexp.engine.statuses import UNFINISHED
from aexp.model.promise import Anomaly, Promise, Verdict, judge

__all__ = ["describe_unsteady", "judge_alone"]

_WITHOUT_END = frozenset({*UNFINISHED, "NOT STARTED"})


def judge_alone(runs: FaultFreeRuns, *, expects_error: bool) -> list[Verdict]:
    """Judge the runs without a fault: each by itself, and all together.

    Unless the scenario ``expects_error``, one that ends in error breaks a promise: nothing after
    the step that failed is ever tried.
    """
    ends = _ends if not expects_error else _comes_to_an_end
    promises = (
        Promise("ends_alone", "without a fault the workflow ends, and not in error", ends),
        Promise(
            "replayed", "replayed from its own checkpoints, it comes to the same end", _replayed
        ),
    )
    by_name: dict[str, Verdict] = {}
    for found, outcome in zip(runs.runs, runs.outcomes, strict=True):
        for verdict in judge_experiment(BaselineComparison(runs, found, outcome)):
            known = by_name.get(verdict.name)
            if known is None or (known.held is not False and verdict.held is False):
                by_name[verdict.name] = verdict
    return [*judge(promises, runs), *by_name.values()]


def _comes_to_an_end(runs: FaultFreeRuns) -> Sequence[Anomaly]:
    for run, outcome in zip(runs.runs, runs.outcomes, strict=True):
        reason = run.lives[-1].standstill
        if reason is not None:
            return [Anomaly(f"without any fault, {reason}", kind="standstill")]
        if outcome.status in _WITHOUT_END:
            what = f"without any fault the run did not end: its workflow is {outcome.status}"
            told = f"{what}{describe_running(run)}"
            return [Anomaly(told, kind="baseline_not_ended")]
    return ()


def _ends(runs: FaultFreeRuns) -> Sequence[Anomaly]:
    failed = [
        outcome for outcome in runs.outcomes if outcome.status not in {"SUCCESS", *_WITHOUT_END}
    ]
    if not failed:
        return _comes_to_an_end(runs) or _forgotten(runs)
    often = (
        "" if len(failed) == len(runs.outcomes) else f" in {len(failed)} of {len(runs.outcomes)}"
    )
    ended = "ended in error" if failed[0].status == "ERROR" else f"ended as {failed[0].status}"
    value = f": {shorten(failed[0].value)}" if failed[0].value is not None else ""
    return [
        Anomaly(
            f"without any fault the workflow {ended}{often}{value}",
            kind="baseline_error",
        )
    ]


def _forgotten(runs: FaultFreeRuns) -> Sequence[Anomaly]:
    """Find children that fail while nobody awaits them, in every run."""
    names = [{row.name for row in forgotten_failures(run)} for run in runs.runs]
    in_all = set.intersection(*names)
    return [
        Anomaly(
            f"without any fault child `{row.name}` ended in error, and nobody awaits it:"
            f" {shorten(str(row.outcome))}",
            kind="baseline_error",
            cause=row.name,
        )
        for row in {row.name: row for row in forgotten_failures(runs.first)}.values()
        if row.name in in_all
    ]


def _replayed(runs: FaultFreeRuns) -> Sequence[Anomaly] | None:
    replayed = runs.replayed
    if replayed is None:
        return None
    if not replayed.ended:
        why = f": {replayed.standstill}" if replayed.standstill is not None else ""
        what = f"replayed from its own checkpoints, it does not come to its end{why}"
        return [Anomaly(what, kind="replay_differs")]
    expected, found = runs.outcome, replayed.outcome
    row = {
        "status": found.status,
        "result": shorten(found.value),
        "expected": shorten(expected.value),
    }
    if found.status != expected.status:
        what = f"replayed from its own checkpoints, it ends as {found.status}"
        return [Anomaly(f"{what}: {shorten(found.value)}", [row], kind="replay_differs")]
    differing = found.differences(expected)
    unsteady = runs.unsteady_result
    if differing and (unsteady.is_whole or unsteady.beyond(differing)):
        where = describe_paths(sorted(differing))
        return [
            Anomaly(
                "replayed from its own checkpoints, it returns something else: the result is made"
                f" in the body of the workflow{where}",
                [row],
                kind="replay_differs",
            )
        ]
    return ()


def describe_unsteady(runs: FaultFreeRuns) -> list[Anomaly]:
    """Name what differs from run to run without any fault, and is left out of comparisons; and the
    requests that no route takes.
    """
    unsteady = runs.unsteady_result
    notes = []
    if unsteady.paths and runs.outcome.status != "SUCCESS":
        notes.append("the error differs from run to run without a fault, and is not compared")
    elif unsteady.is_whole:
        notes.append(
            "nothing of the result is the same in two runs without a fault, so that it is not"
            " judged: say what must be, Scenario(comparable=lambda result: …)"
        )
    elif unsteady.paths:
        parts = ", ".join(f"result{''.join(path)}" for path in sorted(unsteady.paths)[:5])
        notes.append(
            f"{parts} differ from run to run without a fault, and are not compared:"
            f" {_comparable(sorted(unsteady.paths))}"
        )
    for table, columns in unsteady_tables(runs.runs).items():
        what = "the number of rows" if columns == ["*"] else f"column {', '.join(columns)}"
        notes.append(f"{what} of table {table} differs without a fault, and is not compared")
    unsteady_parts = [Anomaly(note, kind="unsteady", cause=note) for note in notes]
    large = sorted(name for name, content in runs.first.tables.items() if content.rows is None)
    unread = [
        Anomaly(
            f"table {name} has so many rows that their number alone is compared",
            kind="rows_not_judged",
            cause=name,
        )
        for name in large
    ]
    return [*unsteady_parts, *unread, *describe_requests(runs)]


def _comparable(paths: Sequence[tuple[str, ...]]) -> str:
    """Return the line that leaves the parts out by hand."""
    keys = [path[0][1:-1] for path in paths]
    if all(len(path) == 1 and path[0].startswith("['") for path in paths):
        blank = ", ".join(f"{key}: None" for key in keys)
        return f"Scenario(comparable=lambda result: {{**result, {blank}}})"
    return "Scenario(comparable=lambda result: …)"
