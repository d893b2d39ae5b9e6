"""From an experiment to the result of its point, as the study has it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from aexp.crash.experiment.laboratory import Experiment
from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.downtimes import Downtime, tell_downtime
from aexp.crash.judge.fault_free import FaultFreeRuns, RunOutcome
from aexp.crash.judge.notes import describe_point
from aexp.crash.judge.points import Point
from aexp.crash.judge.repetitions import repeated_steps
from aexp.crash.judge.replays import judge_replay
from aexp.crash.judge.requests import repeated_requests
from aexp.crash.judge.schedules import describe_missed
from aexp.crash.judge.upgrades import (
    describe_moment,
    judge_upgrade,
    notes_of_upgrade,
    outcome_of_upgrade,
)
from aexp.crash.judge.verdicts import judge_experiment
from aexp.crash.request import ExplorationRequest, is_point
from aexp.crash.results import PointResult

__all__ = ["KnownRuns", "judge_point"]


@dataclass(frozen=True, slots=True)
class KnownRuns:
    """The runs without a fault, and those of the ``later`` code, where there is one."""

    runs: FaultFreeRuns
    later: FaultFreeRuns | None = None


def judge_point(
    request: ExplorationRequest,
    point: Point,
    experiment: Experiment,
    outcome: RunOutcome,
    known: KnownRuns,
    void: str | None,
    attempts: int,
    without_downtime: PointResult | None = None,
) -> PointResult:
    """Judge what ``experiment``, which ended with ``outcome``, has left behind; ``void`` says why
    its faults did not land. Where it was down for a while there is what came of it
    ``without_downtime``.
    """
    found = experiment.evidence
    comparison = BaselineComparison(
        known.runs, found, outcome, experiment.doubted, frozenset(request.once)
    )
    result = PointResult(
        point=point,
        verdicts=(),
        void=void,
        attempts=attempts,
        recovery_s=found.recovery_s,
        log=[line for life in found.lives for line in life.log],
    )
    if known.later is not None:
        return _of_upgrade(result, comparison, known.later)
    if point.worlds is not None:
        return replace(result, verdicts=judge_replay(comparison))
    result = _of_crash(result, comparison, experiment, all_writes=request.all_writes)
    if point.down_s is None or void is not None:
        return result
    assert without_downtime is not None
    downtime = Downtime(experiment.landed[-1].at, point.down_s)
    verdicts, notes = tell_downtime(
        result.verdicts,
        result.notes,
        comparison,
        downtime,
        (without_downtime.verdicts, without_downtime.notes),
    )
    missed = describe_missed(experiment.evidence, downtime)
    return replace(result, verdicts=verdicts, notes=[*notes, *missed])


def _of_upgrade(
    result: PointResult, comparison: BaselineComparison, later: FaultFreeRuns
) -> PointResult:
    verdicts, notes = judge_upgrade(comparison), notes_of_upgrade(comparison, later)
    assert result.point is not None
    return replace(
        result,
        verdicts=verdicts,
        notes=notes,
        moment=_moment(result.point, comparison.baseline),
        became=outcome_of_upgrade(verdicts, notes),
    )


def _of_crash(
    result: PointResult, comparison: BaselineComparison, experiment: Experiment, *, all_writes: bool
) -> PointResult:
    found = experiment.evidence
    recovery = [
        seen.write.point
        for seen in found.writes
        if result.void is None
        and seen.life > experiment.landed[-1].life
        and is_point(seen.write, all_writes=all_writes)
    ]
    return replace(
        result,
        verdicts=judge_experiment(comparison),
        duplicates=found.duplicates,
        restarted=found.restarted,
        stranded=next((life.stranded for life in found.lives if life.stranded), None),
        recovery=recovery,
        take_over=found.take_over,
        notes=describe_point(comparison),
        repeated=repeated_steps(found),
        requests=repeated_requests(comparison),
    )


def _moment(point: Point, runs: FaultFreeRuns) -> str:
    name = point.faults[-1].write
    first = runs.first
    seen = next((seen for seen in first.writes if seen.write.point == name), None)
    return name if seen is None else describe_moment(seen, first)
