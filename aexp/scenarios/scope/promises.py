"""What the counting scenarios promise, and which of their counts outlived a process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aexp.model.promise import SAMPLE, Anomaly, Promise
from aexp.model.scenario import Account

__all__ = ["PROMISES", "CountEvidence", "ProcessCounts", "account"]

# In this order they are told; a program has some of them.
SCOPES = ("instance", "class", "module", "variable", "durable")

ScopeCounts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ProcessCounts:
    """What a process found in each scope when its first step began, and what it last told.

    None when it had not come so far, or was never heard.
    """

    pid: int
    ended: str | None
    found: ScopeCounts | None
    counted: ScopeCounts | None


@dataclass(frozen=True, slots=True)
class CountEvidence:
    """How far was counted: asked for, checkpointed, durably, and in the workflow's variable.

    ``variable`` is None when the workflow has no result.
    """

    steps: int
    checkpoints: int
    durable: int
    variable: int | None
    ended: bool
    processes: Sequence[ProcessCounts]


def _each_step_once(evidence: CountEvidence) -> Sequence[Anomaly] | None:
    if evidence.checkpoints > evidence.steps:
        return [Anomaly(f"{evidence.checkpoints} checkpoints for {evidence.steps} steps")]
    if not evidence.ended:
        return None
    if evidence.checkpoints < evidence.steps:
        return [Anomaly(f"only {evidence.checkpoints} of {evidence.steps} steps have a checkpoint")]
    return ()


def _durable_exact(evidence: CountEvidence) -> Sequence[Anomaly]:
    if evidence.durable == evidence.checkpoints:
        return ()
    return [
        Anomaly(
            f"the durable counter says {evidence.durable}, but {evidence.checkpoints} steps were"
            " checkpointed"
        )
    ]


def _variable_replayed(evidence: CountEvidence) -> Sequence[Anomaly] | None:
    if evidence.variable is None:
        return None
    anomalies = []
    if evidence.variable != evidence.steps:
        anomalies.append(
            Anomaly(f"the workflow's variable came to {evidence.variable}, not {evidence.steps}")
        )
    astray = [
        {"pid": process.pid, **process.found}
        for process in evidence.processes
        if process.found is not None and process.found["variable"] != process.found["durable"]
    ]
    if astray:
        anomalies.append(
            Anomaly("a replay brought the workflow's variable to another value", astray[:SAMPLE])
        )
    return anomalies


PROMISES: Sequence[Promise[CountEvidence]] = (
    Promise("each_step_once", "every step has one checkpoint", _each_step_once),
    Promise("durable_exact", "the durable counter equals the checkpointed steps", _durable_exact),
    Promise(
        "variable_replayed",
        "a replay brings the workflow's own variable back to where it was",
        _variable_replayed,
    ),
)


def account(evidence: CountEvidence) -> Account:
    """Return by scope what was last told before each kill, what it says at the end, and whether
    each process found what the one before it had left (None: no kill has shown it).
    """
    known = {scope for process in evidence.processes for scope in process.counted or ()}
    return {
        "scopes": {
            scope: _of_scope(evidence.processes, scope) for scope in SCOPES if scope in known
        },
        "steps": {
            "asked": evidence.steps,
            "checkpoints": evidence.checkpoints,
            "durable_counter": evidence.durable,
        },
    }


def _of_scope(processes: Sequence[ProcessCounts], scope: str) -> Mapping[str, Any]:
    summary: dict[str, Any] = {}
    for number, process in enumerate(processes[:-1], start=1):
        end = "stop" if process.ended in {"interrupted", "failed"} else "kill"
        summary[f"before_{end}_{number}"] = (process.counted or {}).get(scope)
    summary["at_the_end"] = (processes[-1].counted or {}).get(scope)
    summary["survives"] = _survives(processes, scope)
    return summary


def _survives(processes: Sequence[ProcessCounts], scope: str) -> bool | None:
    """Return whether no process found less than the one before it had told."""
    shown = None
    left = 0
    for process in processes:
        if process.found is not None and left:
            shown = shown is not False and process.found[scope] >= left
        if process.counted is not None:
            left = process.counted[scope]
    return shown
