"""Promises and the anomalies that break them: data and pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

__all__ = ["SAMPLE", "Anomaly", "Promise", "Verdict", "judge", "leave_open"]

_E = TypeVar("_E")

# Rows that an anomaly shows: enough to look further, however many there are.
SAMPLE = 20


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something that must not be: what it is, in one line, and rows that show it (JSON values).

    ``kind`` names its kind among the findings of aexp, empty for a scenario's own. Anomalies of one
    ``cause`` are told together wherever they are found; the summary stands for it where none is
    given. ``where`` is the line of code to look at, ``flows.py:31``.
    """

    summary: str
    rows: Sequence[Mapping[str, Any]] = ()
    kind: str = ""
    cause: str = ""
    where: str | None = None


# No slots: subscripting a frozen generic with slots fails on CPython 3.11 and 3.12.
@dataclass(frozen=True)
class Promise(Generic[_E]):
    """What must hold of a run. ``check`` is pure: the same evidence gives the same anomalies.

    It returns None when the evidence does not tell, which is no pass. What is ``timed`` depends on
    how much of a machine the run has: ``aexp crash``, whose experiments share it, leaves it open.
    """

    name: str
    statement: str
    check: Callable[[_E], Sequence[Anomaly] | None]
    timed: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """A promise, and the anomalies that break it; None when it could not be judged, and perhaps the
    ``reason`` why.
    """

    name: str
    statement: str
    anomalies: Sequence[Anomaly] | None
    reason: str | None = None

    @property
    def held(self) -> bool | None:
        """Whether there is no anomaly; None when the evidence does not tell."""
        return None if self.anomalies is None else not self.anomalies


def judge(promises: Sequence[Promise[_E]], evidence: _E) -> list[Verdict]:
    """Check every promise against the evidence. A check that raises is an anomaly itself."""
    return [
        Verdict(promise.name, promise.statement, _check(promise, evidence)) for promise in promises
    ]


def leave_open(promises: Sequence[Promise[_E]], reason: str) -> list[Verdict]:
    """Return a verdict on every promise as one that cannot be judged."""
    return [Verdict(promise.name, promise.statement, None, reason) for promise in promises]


def _check(promise: Promise[_E], evidence: _E) -> Sequence[Anomaly] | None:
    try:
        return promise.check(evidence)
    except Exception as error:
        return [Anomaly(f"its check raised {type(error).__name__}: {error}")]
