"""What a process notes of its steps, as plain data, and as lines of a file that outlives it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from pydantic_core import to_json

__all__ = [
    "DeclaredEffect",
    "Record",
    "SeenEffect",
    "StepBegan",
    "StepCall",
    "StepEnded",
    "StepRecorded",
    "format_record",
    "parse_records",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Noted:
    """Where and when: ``at`` is monotonic, ``epoch`` in seconds; both of the process ``pid``."""

    workflow_id: str
    step_id: int | None
    pid: int
    at: float
    epoch: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCall(_Noted):
    """A workflow asks for a step, whether its checkpoint answers or its body begins.

    ``arguments`` is a short text for people, ``digest`` tells two sets of arguments apart whose
    text is cut short; what is no plain data counts by its type alone. ``site`` is the line of the
    workflow's code that asks, ``flows.py:31``, None where no code of its own is on the stack.
    """

    name: str
    arguments: str
    digest: str
    site: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBegan(_Noted):
    """The body of a step begins; ``attempt`` counts from 1 in this call of it.

    ``transactional``: a datasource commits the step's record with what the body writes.
    ``arguments`` and ``site`` as in :class:`StepCall`, for people; where calls are not recorded, a
    step in a task of its own has no ``site``.
    """

    name: str
    attempt: int = 1
    transactional: bool = False
    arguments: str = ""
    site: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnded(_Noted):
    """The body of a step has ended, with ``error`` (``TypeError: …``) or without."""

    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecorded(_Noted):
    """A step whose body ran has returned to its workflow: its checkpoint is durable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenEffect(_Noted):
    """Something outside PostgreSQL was touched, in a step or, without a ``step_id``, in the body of
    the workflow. ``kind`` is ``file``, ``connection``, ``process`` or ``mail``.
    """

    kind: str
    target: str
    site: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredEffect(_Noted):
    """An effect that its author declares, see :func:`aexp.effect`."""

    name: str
    key: str
    idempotent: bool
    site: str | None


Record: TypeAlias = StepCall | StepBegan | StepEnded | StepRecorded | SeenEffect | DeclaredEffect

_KINDS: Mapping[str, type[Record]] = {
    "call": StepCall,
    "began": StepBegan,
    "ended": StepEnded,
    "recorded": StepRecorded,
    "effect": SeenEffect,
    "declared": DeclaredEffect,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_FIELDS = {kind: [each.name for each in fields(kind)] for kind in _KINDS.values()}


def format_record(record: Record) -> bytes:
    """Return ``record`` as one line."""
    kind = type(record)
    # Not by asdict, which copies every value and takes several times as long.
    values = {"record": _NAMES[kind]}
    for name in _FIELDS[kind]:
        values[name] = getattr(record, name)
    try:
        # Several times as fast.
        return to_json(values) + b"\n"
    except ValueError:
        # There is half of a surrogate pair, which UTF-8 does not know.
        return json.dumps(values).encode() + b"\n"


def parse_records(lines: Iterable[str]) -> Iterator[Record]:
    """Parse lines of :func:`format_record`; a last one that a kill has cut short is left out."""
    for line in lines:
        if not line.endswith("\n"):
            return
        values: dict[str, Any] = json.loads(line)
        yield _KINDS[values.pop("record")](**values)
