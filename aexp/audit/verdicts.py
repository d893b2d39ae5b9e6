"""What every durable workflow must keep, whatever it does. Pure functions of the history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aexp.audit.history import History
from aexp.audit.repetitions import began_again
from aexp.engine.statuses import DEAD_LETTERED, ENDS
from aexp.model.promise import SAMPLE, Anomaly, Promise, Verdict, judge

__all__ = ["PROMISES", "judge_history"]

_MOST_PIDS = 5


def _ends(history: History) -> Sequence[Anomaly]:
    if history.root_status == "SUCCESS":
        return ()
    if history.root_status == "ERROR":
        return [Anomaly(f"the workflow ended in error: {history.error}")]
    if history.root_status == "CANCELLED":
        return [Anomaly(f"the workflow was cancelled{_by_its_timeout(history)}")]
    if history.root_status == DEAD_LETTERED:
        return [Anomaly("the workflow was given up: DBOS had recovered it too often")]
    return [Anomaly(f"the workflow has not ended: its status is {history.root_status}")]


def _by_its_timeout(history: History) -> str:
    if history.timeout_s is None:
        return ""
    return f" by its timeout of {history.timeout_s:g} s"


def _nothing_left(history: History) -> Sequence[Anomaly] | None:
    if not history.workflows:
        return None
    # A child that ended in error, or that a timeout or somebody on purpose has cancelled, is its
    # parent's affair; one without an end is nobody's.
    left = {status: count for status, count in history.workflows.items() if status not in ENDS}
    if not left:
        return ()
    what = ", ".join(f"{count} {status}" for status, count in sorted(left.items()))
    return [Anomaly(f"workflows without an end: {what}", history.unfinished)]


def _never_again(history: History) -> Sequence[Anomaly] | None:
    # The ledger has asked for the checkpoint when the body began, where a workflow writes it.
    rows = [*history.repeated, *began_again(history.ran_again)]
    if rows:
        return [Anomaly("step bodies began although their checkpoint was durable", rows[:SAMPLE])]
    return None if _unseen(history) else ()


def _unseen(history: History) -> str | None:
    """Say why nobody knows that no step ran again; None when it is known."""
    if history.unrecorded:
        pids = ", ".join(map(str, history.unrecorded[:_MOST_PIDS]))
        more = ", …" if len(history.unrecorded) > _MOST_PIDS else ""
        return f"no recording of process {pids}{more} was read"
    return None if history.steps_ran else "no step ran"


PROMISES: Sequence[Promise[History]] = (
    Promise("ends", "the workflow ends, and not in error", _ends),
    Promise("nothing_left", "no workflow of the run is left without an end", _nothing_left),
    Promise(
        "checkpointed_once",
        "a step whose checkpoint is durable never runs again",
        _never_again,
    ),
)


def judge_history(history: History) -> list[Verdict]:
    """Judge what every workflow must keep; a verdict that is left open says why, where that is
    known.
    """
    return [
        replace(verdict, reason=_unseen(history))
        if verdict.name == "checkpointed_once" and verdict.held is None
        else verdict
        for verdict in judge(PROMISES, history)
    ]
