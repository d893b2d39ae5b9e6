"""What must hold of every workflow, whatever it does, when it is hit by a fault. Pure functions.

What an experiment left behind is judged against itself first, and against runs without a fault only
in what these have in common. The method is elle's: anomalies are data and show the rows that make
them one.
"""

from __future__ import annotations

from collections.abc import Sequence

from aexp.crash.judge.calls import same_call
from aexp.crash.judge.checkpoints import (
    checkpoints_kept,
    in_flight,
    never_again,
    survived,
    without_doubted,
)
from aexp.crash.judge.children import children_once
from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.declared import effects_once, steps_once
from aexp.crash.judge.endings import (
    children_end,
    none_left,
    old_owner,
    run_ends,
    same_result,
    stranded_told,
)
from aexp.crash.judge.messages import messages_once
from aexp.crash.judge.published import same_events, same_streams
from aexp.crash.judge.repetitions import effects_in_steps
from aexp.crash.judge.requests import requests_once
from aexp.crash.judge.rows import same_rows
from aexp.crash.judge.ways import same_way
from aexp.model.promise import Promise, Verdict, judge

__all__ = ["PROMISES", "judge_experiment"]

PROMISES: Sequence[Promise[BaselineComparison]] = (
    Promise("run_ends", "after the fault the run comes to its end", run_ends),
    Promise(
        "same_result",
        "the workflow ends as without a fault, unless a step returned something else",
        same_result,
    ),
    Promise("same_way", "a workflow calls the steps that it calls without a fault", same_way),
    Promise("children_end", "children end as they do without a fault", children_end),
    Promise("none_left", "no workflow is left PENDING, ENQUEUED or dead-lettered", none_left),
    Promise("children_once", "each child is started once", children_once),
    Promise("same_call", "a checkpoint answers the call that it was recorded for", same_call),
    Promise("same_events", "events end with the values of a run without a fault", same_events),
    Promise("same_streams", "streams end with the entries of a run without a fault", same_streams),
    Promise("messages_once", "messages are sent as often as without a fault", messages_once),
    Promise("same_rows", "tables end with the rows of a run without a fault", same_rows),
    Promise("effects_in_steps", "a workflow's body has no effect of its own", effects_in_steps),
    Promise("effects_once", "an effect that is declared happens once for its key", effects_once),
    Promise(
        "requests_once",
        "a request that changes something is sent once, or again with the same Idempotency-Key",
        requests_once,
    ),
    Promise("steps_once", "a step that must run once does", steps_once),
    Promise("checkpoints_kept", "a durable checkpoint is written once and stays", checkpoints_kept),
    Promise("survived", "what is durable is still there when PostgreSQL is back", survived),
    Promise(
        "stranded_told", "work that a wrong process leaves is told with the cause", stranded_told
    ),
    Promise("old_owner", "who lost its work to another executor records nothing of it", old_owner),
    Promise("never_again", "a step whose checkpoint is durable never runs again", never_again),
)


def judge_experiment(comparison: BaselineComparison) -> list[Verdict]:
    """Judge every promise: the generic ones, then those of the run's own audit."""
    doubted = comparison.doubted | in_flight(comparison.found)
    own = [
        without_doubted(verdict, doubted)
        for verdict in comparison.found.verdicts
        # How a workflow ends is compared with how it does without a fault, see same_result.
        if verdict.name not in {"ends", "nothing_left"}
    ]
    return [*judge(PROMISES, comparison), *own]
