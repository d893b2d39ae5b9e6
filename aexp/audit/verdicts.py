"""What every durable workflow must keep, whatever it does. Pure functions of the history."""

from __future__ import annotations

from collections.abc import Sequence

from aexp.audit.history import History
from aexp.engine.statuses import DEAD_LETTERED, ENDS
from aexp.model.promise import Anomaly, Promise

__all__ = ["PROMISES"]


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
    # Only the ledger sees bodies begin, and not every workflow writes it.
    if not history.bodies:
        return None
    if not history.repeated:
        return ()
    return [Anomaly("step bodies began although their checkpoint was durable", history.repeated)]


PROMISES: Sequence[Promise[History]] = (
    Promise("ends", "the workflow ends, and not in error", _ends),
    Promise("nothing_left", "no workflow of the run is left without an end", _nothing_left),
    Promise(
        "checkpointed_once",
        "a step whose checkpoint is durable never runs again",
        _never_again,
    ),
)
