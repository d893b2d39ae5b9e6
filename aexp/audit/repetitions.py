"""Which steps ran more than once, and which of them although their checkpoint was durable. Pure.

A body that begins again because its process died before the checkpoint is what a step is: at least
once. A retry is part of the call that it belongs to, and no repetition.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

__all__ = ["RecordedBody", "StepRepetition", "began_again", "repeated_steps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedBody:
    """A body of a step that began, as its process recorded it; times are in milliseconds.

    ``recorded_ms`` is when that process knew the step's checkpoint to be durable, ``completed_ms``
    what the checkpoint says that stands there now. ``era`` counts how often the run had come to its
    end before, and how often one of its workflows had rewound another: that takes checkpoints away.
    """

    process_no: int
    pid: int
    workflow_id: str
    step_id: int
    name: str
    attempt: int
    transactional: bool
    began_ms: float
    arguments: str = ""
    site: str | None = None
    recorded_ms: float | None = None
    completed_ms: int | None = None
    era: int = 0


@dataclass(frozen=True, slots=True)
class StepRepetition:
    """Steps of a name that ran more than once: how many ``steps``, and in how many calls the body
    of one of them began (``most_bodies``), and in how many processes, at most. ``transactional``:
    what a body writes is committed with its record, so that only one of them has an effect there.
    """

    steps: int
    most_bodies: int
    most_processes: int
    transactional: bool

    def as_json(self) -> dict[str, Any]:
        """Return the repetition as JSON values."""
        return asdict(self)


def repeated_steps(bodies: Iterable[RecordedBody]) -> Mapping[str, StepRepetition]:
    """Return, by name, the steps whose body began in more than one call."""
    by_name: defaultdict[str, list[list[RecordedBody]]] = defaultdict(list)
    for ran in _by_step(bodies):
        calls = [body for body in ran if body.attempt == 1]
        if len(calls) > 1:
            by_name[calls[0].name].append(calls)
    return {
        name: StepRepetition(
            steps=len(steps),
            most_bodies=max(map(len, steps)),
            most_processes=max(len({call.process_no for call in calls}) for calls in steps),
            transactional=all(call.transactional for calls in steps for call in calls),
        )
        for name, steps in sorted(by_name.items())
    }


def began_again(bodies: Iterable[RecordedBody]) -> Sequence[Mapping[str, Any]]:
    """Return a row for each body that began when its checkpoint was certainly durable.

    Certain is what the process of an earlier body saw, or what the checkpoint itself says: a
    process notes the time, by the clock that its own bodies are noted by, before it writes one.
    """
    rows = []
    for ran in _by_step(bodies):
        for place, body in enumerate(ran):
            durable_ms = _durable_ms(body, ran[:place]) if body.attempt == 1 else None
            # DBOS notes whole milliseconds, cut off.
            if durable_ms is not None and math.floor(body.began_ms) > durable_ms:
                rows.append(_row(body, durable_ms))
    return rows


def _by_step(bodies: Iterable[RecordedBody]) -> Iterable[Sequence[RecordedBody]]:
    """Return the bodies of each step in the order in which they began."""
    steps: defaultdict[tuple[str, int], list[RecordedBody]] = defaultdict(list)
    for body in sorted(bodies, key=lambda body: body.began_ms):
        steps[body.workflow_id, body.step_id].append(body)
    return steps.values()


def _durable_ms(body: RecordedBody, earlier: Sequence[RecordedBody]) -> float | None:
    """Return since when the checkpoint of a step that has run before is known to be durable."""
    if not earlier:
        return None
    known = [
        other.recorded_ms
        for other in earlier
        if other.recorded_ms is not None and other.era == body.era
    ]
    if body.completed_ms is not None:
        known.append(body.completed_ms)
    return min(known, default=None)


def _row(body: RecordedBody, durable_ms: float) -> Mapping[str, Any]:
    return {
        "workflow_id": body.workflow_id,
        "step": body.name,
        "step_id": body.step_id,
        "pid": body.pid,
        "began_at": _text(body.began_ms),
        "durable_since": _text(durable_ms),
        "arguments": body.arguments,
        "site": body.site,
    }


def _text(epoch_ms: float) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds")
