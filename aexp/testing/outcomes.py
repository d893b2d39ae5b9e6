"""What pytest tells at the end of a session of each exploration, as JSON values.

They cross from the processes of pytest-xdist to the one that reports.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["ExplorationOutcome", "junit_properties", "summary_lines"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplorationOutcome:
    """One exploration. ``verdict`` is HELD, BROKEN or NOT VERIFIED, ``results`` are SARIF's."""

    test: str
    name: str
    verdict: str
    planned: int
    verified: int
    findings: int
    exploring_s: float
    results: Sequence[Mapping[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values, of which ``ExplorationOutcome(**values)`` makes it again."""
        return asdict(self)


def junit_properties(outcomes: Sequence[ExplorationOutcome]) -> Iterator[tuple[str, str]]:
    """Yield the properties of a test case for what a test has explored."""
    if outcomes:
        yield "aexp_points_verified", f"{_verified(outcomes)} of {_planned(outcomes)}"
        yield "aexp_findings", str(sum(one.findings for one in outcomes))
        yield "aexp_seconds_per_point", _pace(outcomes)


def summary_lines(outcomes: Sequence[ExplorationOutcome]) -> Iterator[str]:
    """Yield a line for each exploration, and one for all."""
    width = max(len(f"{one.test} {one.name}") for one in outcomes)
    for one in outcomes:
        yield f"{f'{one.test} {one.name}':{width}}  {_line(one.verdict, [one])}"
    if len(outcomes) > 1:
        yield _line(f"{len(outcomes)} explorations", outcomes)


def _line(begin: str, outcomes: Sequence[ExplorationOutcome]) -> str:
    findings = sum(one.findings for one in outcomes)
    return (
        f"{begin}: {_verified(outcomes)} of {_planned(outcomes)} points verified, {findings}"
        f" finding{'s' * (findings != 1)}, {_pace(outcomes)} s a point"
    )


def _planned(outcomes: Sequence[ExplorationOutcome]) -> int:
    return sum(one.planned for one in outcomes)


def _verified(outcomes: Sequence[ExplorationOutcome]) -> int:
    return sum(one.verified for one in outcomes)


def _pace(outcomes: Sequence[ExplorationOutcome]) -> str:
    planned = _planned(outcomes)
    return f"{sum(one.exploring_s for one in outcomes) / planned:.2f}" if planned else "–"
