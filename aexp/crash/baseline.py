"""Run without a fault, more than once: what these runs have in common is what others are compared
with, and whether the workflow is right when it is left alone comes first.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio

from aexp.crash.experiment.laboratory import Experiment, Laboratory
from aexp.crash.judge.alone import describe_unsteady, judge_alone
from aexp.crash.judge.fault_free import FaultFreeRuns, ReplayedRun, RunOutcome
from aexp.crash.judge.replays import REPLAY_PROMISES
from aexp.crash.judge.schedules import describe_clock_changes
from aexp.crash.judging import KnownRuns
from aexp.crash.request import ExplorationRequest, NothingToExplore, is_point
from aexp.crash.results import Baseline, Study
from aexp.errors import WorkerFailed
from aexp.model.promise import Verdict
from aexp.model.scenario import Scenario, scenario_code

__all__ = ["DEADLINE_S", "LONGEST_BASELINE_S", "make_baseline", "outcome_of"]

# Unless the user gives a deadline: at least so long for a point, and so long for a baseline, of
# which nobody knows yet how long it takes.
DEADLINE_S = 30.0
LONGEST_BASELINE_S = 120.0
# The second is forked by a process that hashes otherwise.
_RUNS = 3
_RUNS_OF_LATER = 2


async def make_baseline(
    request: ExplorationRequest, laboratory: Laboratory
) -> tuple[Baseline, KnownRuns, list[str]]:
    """Run without a fault: the first run is told, what differs among all is unsteady, and so are
    the writes that not all of them made. Where other code is to go on, it runs by itself, too.

    Raises WorkerFailed when a worker fails on its own, NothingToExplore when it writes past the
    proxy.
    """
    laboratory = replace(laboratory, terms=replace(laboratory.terms, show_logs=False))
    # What the schedules of a run started belongs to its time, which is over.
    schedules = request.scenario.schedules(request.parameters)
    code = "" if request.later is None else "old code"
    first = await laboratory.experiment(keep_timeline=True, replay=not schedules)
    _check(first, code)
    experiments = [first]
    if first.evidence.lives[-1].code == 0:
        experiments += await _again(laboratory, code, jobs=request.jobs)
    runs = FaultFreeRuns(
        runs=[each.evidence for each in experiments],
        outcomes=[
            outcome_of(request.scenario, each.evidence.status, each.evidence.outcome)
            for each in experiments
        ],
        replayed=_replayed(request.scenario, first),
    )
    timeline = first.timeline
    assert timeline is not None
    expects_error = request.expect_error or request.scenario.expect_error
    baseline = Baseline(
        writes=first.evidence.writes,
        clock_offset_s=time.time() - time.monotonic(),
        seconds=first.seconds,
        verdicts=_of_study(request.study, judge_alone(runs, expects_error=expects_error)),
        report=first.report,
        timeline=timeline,
        status=first.evidence.status,
        outcome=first.evidence.outcome,
        notes=[
            *(describe_unsteady(runs) if request.study == "crash" else ()),
            *(describe_clock_changes(runs.first) if request.down else ()),
        ],
    )
    in_all = set.intersection(
        *({seen.write.point for seen in each.evidence.writes} for each in experiments)
    )
    unsteady = [
        seen.write.point
        for seen in first.evidence.writes
        if seen.write.point not in in_all and is_point(seen.write, all_writes=request.all_writes)
    ]
    return baseline, KnownRuns(runs, await _run_later(request, laboratory)), unsteady


def _of_study(study: Study, verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
    """Return the verdicts on the baseline that a study asks for: all others are of `aexp crash`."""
    if study == "crash":
        return verdicts
    names = {"ends_alone"}
    if study == "determinism":
        names |= {"replayed", *(promise.name for promise in REPLAY_PROMISES)}
    return [verdict for verdict in verdicts if verdict.name in names]


async def _run_later(request: ExplorationRequest, laboratory: Laboratory) -> FaultFreeRuns | None:
    """Run the later code by itself, as often as it takes to see what is unsteady of it."""
    if request.later is None:
        return None
    experiments = [
        await laboratory.experiment(upgraded=True, first_life=number)
        for number in range(_RUNS_OF_LATER)
    ]
    for experiment in experiments:
        _check(experiment, "new code")
    return FaultFreeRuns(
        runs=[each.evidence for each in experiments],
        outcomes=[
            outcome_of(request.scenario, each.evidence.status, each.evidence.outcome)
            for each in experiments
        ],
    )


async def _again(laboratory: Laboratory, code: str, *, jobs: int) -> list[Experiment]:
    """Make the runs after the first, side by side where there is more than one job."""
    found: dict[int, Experiment] = {}
    limiter = anyio.CapacityLimiter(jobs)

    async def run(number: int) -> None:
        async with limiter:
            found[number] = await laboratory.experiment(first_life=number)

    async with anyio.create_task_group() as group:
        for number in range(1, _RUNS):
            group.start_soon(run, number)
    for experiment in found.values():
        _check(experiment, code)
    return [found[number] for number in sorted(found)]


def outcome_of(scenario: Scenario[Any], status: str, value: Any) -> RunOutcome:
    """Return what a run ended with, as the scenario compares it."""
    if status != "SUCCESS":
        return RunOutcome(status, value)
    with scenario_code(scenario, "comparable"):
        return RunOutcome(status, scenario.comparable(value))


def _replayed(scenario: Scenario[Any], experiment: Experiment) -> ReplayedRun | None:
    found = experiment.replayed
    if found is None:
        return None
    outcome = outcome_of(scenario, found.status, found.outcome)
    return ReplayedRun(found.ended, outcome, found.events, found.standstill, found.entries)


def _check(experiment: Experiment, code: str) -> None:
    """Raise when the worker of a run without a fault failed, or wrote past the proxy; ``code`` is
    which one it ran, where there are two.

    One that does not end, or finds that nothing can move any more, is judged.
    """
    life = experiment.evidence.lives[-1]
    if life.standstill is None and life.code not in {0, None}:
        reason = life.last_words.removeprefix("aexp: error: ")
        raise WorkerFailed(life.pid, life.code, f"{code}: {reason}" if code else reason)
    if not experiment.connections:
        raise NothingToExplore(
            "the worker made no connection to the database that it was told to use: what it writes"
            " elsewhere cannot be seen"
        )
