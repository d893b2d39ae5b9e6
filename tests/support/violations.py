"""Evidence with a planted violation, and what an audit makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aexp.model.promise import Promise, judge

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Violation:
    """Evidence that breaks one promise, and the anomaly that must be named: summary and rows."""

    promise: str
    evidence: Any
    summary: str
    rows: Rows
    more: Sequence[tuple[str, Rows]] = ()

    @property
    def named(self) -> list[tuple[str, Rows]]:
        """The anomalies in order, as :func:`anomalies_of` tells them."""
        return [(self.summary, self.rows), *self.more]


def anomalies_of(
    promises: Sequence[Promise[Any]], evidence: Any
) -> dict[str, list[tuple[str, Rows]]]:
    """By promise, the summaries and rows of what broke it."""
    return {
        verdict.name: [(anomaly.summary, list(anomaly.rows)) for anomaly in verdict.anomalies]
        for verdict in judge(promises, evidence)
        if verdict.anomalies
    }
