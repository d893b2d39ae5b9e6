"""Group what an exploration found by its cause, the most severe first. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aexp.crash.judge.codes import CODES, Code, code_of
from aexp.crash.judge.points import Point
from aexp.crash.judge.worlds import World, describe_worlds
from aexp.model.promise import Anomaly, Verdict

__all__ = ["Finding", "FindingKey", "LeastReplay", "Sighting", "group_findings"]

# Kind, where in the code, cause, and the promise that it breaks.
FindingKey: TypeAlias = tuple[str, str | None, str, str]

_RANK = {code.code: place for place, code in enumerate(CODES)}
# How many rows there were, and at which step, is another thing at each point.
_NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Sighting:
    """An anomaly, or what is only told, at a point; ``verdict`` is the promise that it breaks."""

    point: str
    anomaly: Anomaly
    verdict: Verdict | None = None
    log: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class LeastReplay:
    """The replay that brings a divergence out with the least of the world otherwise, and the worlds
    that do so ``alone``: none where nothing needs to be otherwise, None where it takes several.
    """

    point: Point
    alone: frozenset[World] | None


@dataclass(slots=True)
class Finding:
    """One cause, and all the points at which it shows; ``example`` is the first of them.

    ``promise`` and ``statement`` are empty where it breaks none. ``least`` is the replay that
    brings it out with the least of the world otherwise, where that was looked for.
    """

    key: FindingKey
    code: Code
    summary: str
    where: str | None
    promise: str
    statement: str
    example: Sighting
    points: list[str] = field(default_factory=list)
    least: LeastReplay | None = None

    @property
    def told(self) -> str:
        """What is wrong, and when that shows."""
        if self.least is None:
            return self.summary
        return f"{self.summary}. It shows {describe_worlds(self.least.alone)}."

    @property
    def replayed_by(self) -> str:
        """The point that brings it out."""
        return self.example.point if self.least is None else str(self.least.point)

    @property
    def is_broken(self) -> bool:
        """Whether it breaks a promise."""
        return bool(self.promise)

    def as_json(self) -> dict[str, Any]:
        """Return the finding as JSON values, but for the line that replays it."""
        return {
            "code": self.code.code,
            "kind": self.code.kind,
            "title": self.code.title,
            "summary": self.told,
            "where": self.where,
            "promise": self.promise or None,
            "statement": self.statement or None,
            "broken": self.is_broken,
            "points": list(self.points),
            **({} if self.least is None else {"worlds": sorted(self.least.alone or ())}),
            "rows": [dict(row) for row in self.example.anomaly.rows],
            "log": list(self.example.log),
        }


def group_findings(sightings: Iterable[Sighting]) -> list[Finding]:
    """Group sightings of one kind and cause, the most severe kinds first, and of one kind those at
    most points.

    Where no cause is given the summary is it, but for its numbers. What is said of the baseline
    twice, as by "ends_alone" and "run_ends", is told once.
    """
    groups: dict[FindingKey, Finding] = {}
    for sighting in _without_echoes(list(sightings)):
        anomaly, verdict = sighting.anomaly, sighting.verdict
        name = verdict.name if verdict is not None else ""
        cause = anomaly.cause or _NUMBER.sub("#", anomaly.summary)
        key = (anomaly.kind, anomaly.where, cause, name)
        found = groups.setdefault(
            key,
            Finding(
                key=key,
                code=code_of(anomaly.kind),
                summary=anomaly.summary,
                where=anomaly.where,
                promise=name,
                statement=verdict.statement if verdict is not None else "",
                example=sighting,
            ),
        )
        if sighting.point not in found.points:
            found.points.append(sighting.point)
    return sorted(
        groups.values(),
        key=lambda found: (not found.is_broken, _RANK[found.code.code], -len(found.points)),
    )


def _without_echoes(sightings: Sequence[Sighting]) -> Iterator[Sighting]:
    ends_alone = {
        sighting.point
        for sighting in sightings
        if sighting.verdict is not None and sighting.verdict.name == "ends_alone"
    }
    for sighting in sightings:
        name = sighting.verdict.name if sighting.verdict is not None else ""
        if not (name == "run_ends" and sighting.point in ends_alone):
            yield sighting
