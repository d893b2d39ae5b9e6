"""What an exploration found, and how it is told as JSON."""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from aexp.audit import Report
from aexp.crash.judge.evidence import Seen, Stranded
from aexp.crash.judge.findings import Finding, FindingKey, LeastReplay, Sighting, group_findings
from aexp.crash.judge.ownership import Takeover
from aexp.crash.judge.points import Point
from aexp.crash.judge.repetitions import RepeatedStep
from aexp.crash.judge.requests import RepeatedRequest, unite
from aexp.errors import AexpError
from aexp.model.promise import Anomaly, Verdict
from aexp.viewer import Timeline

__all__ = [
    "BASELINE",
    "Baseline",
    "Exploration",
    "PointOutcome",
    "PointResult",
    "PromisesBroken",
    "Study",
    "find_sightings",
]

# Of a point that is decided.
PointOutcome: TypeAlias = Literal["held", "broken", "void"]

# What is tried of a workflow, by the command that does.
Study: TypeAlias = Literal["crash", "determinism", "upgrade"]

BASELINE = "baseline"


@dataclass(frozen=True, slots=True)
class Baseline:
    """The run without a fault: its writes, in order, its account and its timeline.

    It is made more than once, under other hash seeds; ``verdicts`` judge all of these, ``notes``
    say what differs among them. ``outcome`` is the result of the first, or its error as text. The
    epoch is ``clock_offset_s`` before the zero of the clock of its writes.
    """

    writes: Sequence[Seen]
    clock_offset_s: float
    seconds: float
    verdicts: Sequence[Verdict]
    report: Report
    timeline: Timeline
    status: str
    outcome: Any
    notes: Sequence[Anomaly] = ()

    @property
    def ends_as_expected(self) -> bool:
        """Whether the run comes to an end when it is left alone, and to the one that it should."""
        return all(v.held is not False for v in self.verdicts if v.name == "ends_alone")


@dataclass(frozen=True, slots=True)
class PointResult:
    """What came of a point.

    ``void`` says why its fault did not land as it should have; such a point is not verified,
    whatever its verdicts say. ``restarted`` says that the process which had lost an acknowledgement
    or its server did nothing more, or ended: only another one came to the end. ``stranded`` is what
    a wrongly started process left lying, ``take_over`` what became of a stopped one's work. Of a
    run that was upgraded ``moment`` says how far it had come, and ``became`` what became of it.
    """

    point: Point | None
    verdicts: Sequence[Verdict]
    void: str | None = None
    attempts: int = 1
    duplicates: int | None = None
    recovery_s: float | None = None
    restarted: bool = False
    stranded: Stranded | None = None
    take_over: Takeover | None = None
    # The writes that became durable after the last fault, in later lives.
    recovery: Sequence[str] = ()
    log: Sequence[str] = ()
    # What breaks no promise.
    notes: Sequence[Anomaly] = ()
    repeated: Sequence[RepeatedStep] = ()
    requests: Sequence[RepeatedRequest] = ()
    moment: str | None = None
    became: str | None = None

    @property
    def name(self) -> str:
        """The point as it is given to --replay; the baseline has none."""
        return BASELINE if self.point is None else str(self.point)

    @property
    def broken(self) -> Sequence[Verdict]:
        """The promises that did not hold."""
        return [verdict for verdict in self.verdicts if verdict.held is False]

    @property
    def verdict(self) -> PointOutcome:
        """``held`` when every promise held that could be judged."""
        if self.void is not None:
            return "void"
        return "broken" if self.broken else "held"

    @property
    def held(self) -> bool | None:
        """The verdict as three-valued logic has it: None when the point is void."""
        return None if self.verdict == "void" else self.verdict == "held"

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "point": self.name,
            "side": self.point.side if self.point is not None else None,
            "held": self.held,
            "duplicates": self.duplicates,
            "recovery_s": None if self.recovery_s is None else round(self.recovery_s, 3),
            **({"restarted": True} if self.restarted else {}),
            **({"moment": self.moment, "became": self.became} if self.became is not None else {}),
            **({"stranded": dict(self.stranded.causes)} if self.stranded is not None else {}),
            **({"take_over": self.take_over.as_json()} if self.take_over is not None else {}),
            **({"void": self.void, "attempts": self.attempts} if self.void is not None else {}),
        }


class PromisesBroken(AssertionError):
    """An exploration did not show that every promise holds; its text is what was found."""

    def __init__(self, exploration: Exploration, told: str) -> None:
        super().__init__(told)
        self.exploration = exploration


@dataclass(frozen=True, slots=True)
class KindRow:
    """The points of one kind of write."""

    kind: str
    points: int
    verified: int
    # None where nobody counts them.
    duplicates: int | None
    restarted: int
    broken: int
    void: int


@dataclass(frozen=True, slots=True)
class Exploration:
    """An exploration, whole or cut short.

    ``planned`` are the points chosen, of ``possible`` ones; ``untried`` counts the writes of each
    kind that none of them strikes. ``failure`` is the error that ended it early. ``replay`` is the
    command that replays a point, up to the point itself. ``least`` has for each divergence the
    replay that brings it out with the least of the world otherwise.
    """

    scenario: str
    target: str
    parameters: Mapping[str, Any]
    seed: int
    jobs: int
    baseline: Baseline
    planned: Sequence[Point]
    possible: int
    unsteady: Sequence[str]
    results: Sequence[PointResult]
    elapsed_s: float
    exploring_s: float
    interrupted: bool = False
    failure: AexpError | None = None
    replay: Sequence[str] = ()
    untried: Mapping[str, int] = field(default_factory=dict)
    least: Mapping[FindingKey, LeastReplay] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    study: Study = "crash"

    @property
    def outcome(self) -> Any:
        """What the workflow returns without a fault, or its error as text."""
        return self.baseline.outcome

    @property
    def bookkeeping(self) -> int:
        """How many writes of the baseline have nothing to do with a workflow."""
        return sum(seen.write.bookkeeping for seen in self.baseline.writes)

    @property
    def writes(self) -> int:
        """How many do."""
        return len(self.baseline.writes) - self.bookkeeping

    @property
    def verified(self) -> Sequence[PointResult]:
        """The points whose fault landed."""
        return [result for result in self.results if result.verdict != "void"]

    @property
    def void(self) -> Sequence[PointResult]:
        """The points whose fault did not land, as often as it was tried."""
        return [result for result in self.results if result.verdict == "void"]

    @property
    def broken(self) -> Sequence[PointResult]:
        """Where a promise did not hold: the baseline itself, and points that were verified."""
        alone = PointResult(None, self.baseline.verdicts)
        return [
            *([alone] if alone.broken else []),
            *(r for r in self.results if r.verdict == "broken"),
        ]

    @property
    def repeated_steps(self) -> Sequence[RepeatedStep]:
        """The steps that ran more than once at the points that were verified, those at most points
        first.
        """
        found: defaultdict[str, list[RepeatedStep]] = defaultdict(list)
        for result in self.verified:
            for step in result.repeated:
                found[step.name].append(step)
        united = [
            RepeatedStep(
                name=name,
                points=len(steps),
                most=max(step.most for step in steps),
                transactional=all(step.transactional for step in steps),
                idempotent=all(step.idempotent for step in steps),
                touched=list(dict.fromkeys(each for step in steps for each in step.touched)),
            )
            for name, steps in found.items()
        ]
        return sorted(united, key=lambda step: (-step.points, step.name))

    @property
    def repeated_requests(self) -> Sequence[RepeatedRequest]:
        """What was sent to stubs more often than without a fault at points that were verified."""
        return unite([request for result in self.verified for request in result.requests])

    @property
    def findings(self) -> Sequence[Finding]:
        """What was found, grouped by cause: broken promises first, then what is only told."""
        alone = PointResult(None, self.baseline.verdicts, notes=self.baseline.notes)
        found = group_findings(
            sighting for result in (alone, *self.verified) for sighting in find_sightings(result)
        )
        for finding in found:
            finding.least = self.least.get(finding.key)
        return found

    @property
    def coverage(self) -> float:
        """Points verified of points planned."""
        return len(self.verified) / len(self.planned) if self.planned else 0.0

    @property
    def ok(self) -> bool:
        """Whether every planned point was verified and every promise held."""
        return bool(self.planned) and self.coverage == 1.0 and not self.broken

    def check(self) -> None:
        """Raise PromisesBroken, with the text that ``aexp crash`` prints, unless all is ``ok``."""
        if not self.ok:
            # How it is told knows what it tells.
            from aexp.crash.formats.text import render_exploration  # noqa: PLC0415

            raise PromisesBroken(self, render_exploration(self))

    @property
    def seconds_per_point(self) -> float | None:
        """Wall time by points done; with several jobs, less than a point takes."""
        return self.exploring_s / len(self.results) if self.results else None

    def by_kind(self) -> list[KindRow]:
        """Return a row for each kind of write, in the order in which the baseline wrote them."""
        planned = Counter(point.kind for point in self.planned)
        rows = []
        for kind, points in planned.items():
            of_kind = [r for r in self.results if r.point is not None and r.point.kind == kind]
            verdicts = Counter(result.verdict for result in of_kind)
            verified = [result for result in of_kind if result.verdict != "void"]
            rows.append(
                KindRow(
                    kind=kind,
                    points=points,
                    verified=len(verified),
                    duplicates=_total(verified),
                    restarted=sum(result.restarted for result in verified),
                    broken=verdicts["broken"],
                    void=verdicts["void"],
                )
            )
        return rows

    def as_json(self) -> dict[str, Any]:
        """Return the exploration as JSON values, in the order in which they are written."""
        pace = self.seconds_per_point
        return {
            "study": self.study,
            "scenario": self.scenario,
            "target": self.target,
            "parameters": dict(self.parameters),
            "seed": self.seed,
            "jobs": self.jobs,
            "status": self.baseline.status,
            "outcome": self.baseline.outcome,
            "writes": self.writes,
            "bookkeeping_writes": self.bookkeeping,
            "unsteady": list(self.unsteady),
            "possible": self.possible,
            "planned": len(self.planned),
            "verified": len(self.verified),
            "void": len(self.void),
            "broken": [self._broken_as_json(result) for result in self.broken],
            "findings": [
                {**finding.as_json(), "replay": self.replay_of(finding.replayed_by)}
                for finding in self.findings
            ],
            "coverage": round(self.coverage, 4),
            "duplicates": _total(self.verified),
            "restarted": sum(result.restarted for result in self.verified),
            "repeated_steps": [step.as_json() for step in self.repeated_steps],
            "repeated_requests": [each.as_json() for each in self.repeated_requests],
            "interrupted": self.interrupted,
            "failure": None if self.failure is None else str(self.failure),
            "baseline_s": round(self.baseline.seconds, 3),
            "seconds_per_point": None if pace is None else round(pace, 3),
            "elapsed_s": round(self.elapsed_s, 3),
            "points": [result.as_json() for result in self.results],
            "settings": dict(self.settings),
        }

    def _broken_as_json(self, result: PointResult) -> dict[str, Any]:
        return {
            "point": result.name,
            "promises": [
                {
                    "name": verdict.name,
                    "statement": verdict.statement,
                    "anomalies": [
                        {"summary": anomaly.summary, "rows": [dict(row) for row in anomaly.rows]}
                        for anomaly in verdict.anomalies or ()
                    ],
                }
                for verdict in result.broken
            ],
            "log": list(result.log),
            "replay": self.replay_command(result),
        }

    def replay_command(self, result: PointResult) -> str:
        """Return one line for a shell that makes exactly this experiment again."""
        return self.replay_of(result.name)

    def replay_of(self, point: str) -> str:
        """Return one line for a shell that makes the experiment of the point again.

        What shows without a fault is shown by any: the fewest.
        """
        chosen = ["--points", "1"] if point == BASELINE else ["--replay", point]
        return shlex.join([*self.replay, *chosen])


def _total(results: Sequence[PointResult]) -> int | None:
    counted = [result.duplicates for result in results if result.duplicates is not None]
    return sum(counted) if counted else None


def find_sightings(result: PointResult) -> Iterator[Sighting]:
    """Find what is broken at a point, and what is only told."""
    for verdict in result.broken:
        for anomaly in verdict.anomalies or ():
            yield Sighting(result.name, anomaly, verdict, result.log)
    for note in result.notes:
        yield Sighting(result.name, note)
