"""Promises and the anomalies that break them: data and pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

__all__ = ["Anomaly", "Promise", "Verdict", "judge"]

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something that must not be: what it is, in one line, and rows that show it (JSON values)."""

    summary: str
    rows: Sequence[Mapping[str, Any]] = ()


# No slots: subscripting a frozen generic with slots fails on CPython 3.11 and 3.12.
@dataclass(frozen=True)
class Promise(Generic[E]):
    """What must hold of a run. ``check`` is pure: the same evidence gives the same anomalies."""

    name: str
    statement: str
    check: Callable[[E], Sequence[Anomaly]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A promise, and the anomalies that break it, if any."""

    name: str
    statement: str
    anomalies: Sequence[Anomaly]

    @property
    def held(self) -> bool:
        """Whether there is no anomaly."""
        return not self.anomalies


def judge(promises: Sequence[Promise[E]], evidence: E) -> list[Verdict]:
    """Every promise checked against the evidence."""
    return [
        Verdict(promise.name, promise.statement, promise.check(evidence)) for promise in promises
    ]
