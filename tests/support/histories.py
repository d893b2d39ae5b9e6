"""Histories of experiments, written down by hand."""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

from aexp.crash.http.received import ReceivedRequest
from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.evidence import (
    Checkpoint,
    EventRecord,
    Evidence,
    LifeRecord,
    Recorded,
    Seen,
    StepRecord,
    StreamEntry,
    TableContent,
    WorkflowRecord,
)
from aexp.crash.judge.fault_free import FaultFreeRuns, ReplayedRun, RunOutcome
from aexp.crash.judge.values import StoredValue
from aexp.crash.proxy.writes import Write
from aexp.engine.recorder.records import (
    DeclaredEffect,
    Record,
    SeenEffect,
    StepBegan,
    StepCall,
    StepEnded,
)
from aexp.model.promise import Promise

__all__ = [
    "ROOT",
    "began",
    "broken",
    "called",
    "compared",
    "declared",
    "ended",
    "history",
    "sent",
    "stored",
    "summaries",
    "table",
    "touched",
    "wrote",
]

ROOT = "crash"


def stored(value: object) -> StoredValue:
    """A value as DBOS stores it."""
    text = base64.b64encode(pickle.dumps(value)).decode()
    return StoredValue(hashlib.md5(text.encode()).hexdigest(), text, "py_pickle")


def history(
    *steps: tuple[str, object],
    result: Any = None,
    status: str = "SUCCESS",
    events: Mapping[str, object] | None = None,
    entries: Sequence[tuple[str, int, object]] = (),
    tables: Mapping[str, TableContent] | None = None,
    lives: int = 1,
    **given: Any,
) -> Evidence:
    """What a run leaves whose root took ``steps`` (name, outcome), all durable in the first of its
    ``lives``; an outcome that is an error has failed. ``entries`` are of streams: key, step,
    value."""
    fields: dict[str, Any] = {
        "status": status,
        "outcome": result,
        "lives": [
            *(LifeRecord(10 + n, -9, killed=True) for n in range(lives - 1)),
            LifeRecord(10 + lives - 1, 0, killed=False),
        ],
        "workflows": [WorkflowRecord(ROOT, "sell", status)],
        "steps": [
            StepRecord(ROOT, number, name, stored(value), failed=isinstance(value, Exception))
            for number, (name, value) in enumerate(steps, 1)
        ],
        "checkpoints": [Checkpoint(ROOT, n, 0, at=float(n)) for n in range(1, len(steps) + 1)],
        "events": [EventRecord(ROOT, key, stored(value)) for key, value in (events or {}).items()],
        "entries": [StreamEntry(ROOT, key, step, stored(value)) for key, step, value in entries],
        "tables": tables or {},
    }
    return Evidence(**{**fields, **given})


def compared(
    found: Evidence, *baseline: Evidence, replayed: ReplayedRun | None = None
) -> BaselineComparison:
    """``found`` beside runs without a fault."""
    outcomes = [RunOutcome(run.status, run.outcome) for run in baseline]
    return BaselineComparison(
        FaultFreeRuns(baseline, outcomes, replayed), found, RunOutcome(found.status, found.outcome)
    )


def broken(promise: Promise[BaselineComparison], comparison: BaselineComparison) -> list[str]:
    """The kinds of the anomalies that a promise finds; empty also when it cannot judge."""
    return [anomaly.kind for anomaly in promise.check(comparison) or ()]


def summaries(promise: Promise[BaselineComparison], comparison: BaselineComparison) -> list[str]:
    """What they say."""
    return [anomaly.summary for anomaly in promise.check(comparison) or ()]


def table(*rows: Mapping[str, object], numbered: Sequence[str] = ()) -> TableContent:
    """A table of the user's with these rows."""
    columns = list(rows[0]) if rows else []
    texts = [{name: json.dumps(value) for name, value in row.items()} for row in rows]
    return TableContent(len(rows), columns, frozenset(numbered), texts)


def called(
    step: int, *arguments: object, life: int = 0, at: float, site: str | None = None,
    name: str = "publish", workflow: str = ROOT,
) -> Recorded:  # fmt: skip
    """A call of a step."""
    text = repr(arguments)
    return _recorded(life, at, step, StepCall, workflow, name=name, arguments=text, digest=text,
                     site=site)  # fmt: skip


def began(
    step: int, *, life: int = 0, at: float, name: str = "publish", workflow: str = ROOT
) -> Recorded:
    """Its body begins."""
    return _recorded(life, at, step, StepBegan, workflow, name=name)


def ended(step: int, *, life: int = 0, at: float) -> Recorded:
    """Its body ends."""
    return _recorded(life, at, step, StepEnded, ROOT)


def touched(
    step: int | None, target: str, *, life: int = 0, at: float = 0.0, site: str | None = None
) -> Recorded:
    """A file is written, in a step or in the workflow's body."""
    return _recorded(life, at, step, SeenEffect, ROOT, kind="file", target=target, site=site)


def declared(step: int, name: str, *, life: int = 0, idempotent: bool = False) -> Recorded:
    """An effect that its author declares."""
    return _recorded(life, 0.0, step, DeclaredEffect, ROOT, name=name, key="k",
                     idempotent=idempotent, site=None)  # fmt: skip


def wrote(name: str, *, life: int, at: float, workflow: str | None = None) -> Seen:
    """A write that became durable; its name says to which tables."""
    tables = frozenset(part.split()[1] for part in name.split(" + ") if " " in part)
    return Seen(Write(name=name, key=name, ordinal=1, workflow_id=workflow, step_id=None,
                      bookkeeping=False, tables=tables), life, at)  # fmt: skip


def sent(
    at: float, *, life: int | None = 0, body: str = "{}", key: str | None = None,
    method: str = "POST", path: str = "/charges", route: str | None = "/charges",
    safe: bool = False,
) -> ReceivedRequest:  # fmt: skip
    """A request that a stub received."""
    return ReceivedRequest(stub="SHOP_URL", method=method, path=path, body=body, key=key, at=at,
                           route=route, status=200, safe=safe, life=life)  # fmt: skip


def _recorded(
    life: int, at: float, step: int | None, type_: type[Record], workflow: str, **fields: Any
) -> Recorded:
    record = type_(
        workflow_id=workflow, step_id=step, pid=10 + life, at=at, epoch=1e9 + at, **fields
    )
    return Recorded(life, record)
