"""Explore a run: a baseline, every durable write of it as a point, each point an experiment."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import anyio

from aexp.crash.databases import open_databases
from aexp.crash.evidence import Evidence
from aexp.crash.experiment import Experiment, Laboratory, void_reason
from aexp.crash.plan import Point, Side, order_points, sample
from aexp.crash.results import Baseline, Exploration, PointResult
from aexp.crash.verdicts import Comparison, judge_experiment
from aexp.crash.workers import open_workers
from aexp.database import DatabaseUrl
from aexp.database.connect import connected
from aexp.errors import AexpError, Interrupted, UsageError, WorkerFailed
from aexp.promise import Verdict
from aexp.runs import Run, begin_run
from aexp.runtime import application_version
from aexp.scenario import Scenario, scenario_code
from aexp.settings import Settings
from aexp.stopping import Stop

__all__ = ["RUN_ID", "Explorer", "NothingToExplore", "Request", "Tally"]

# The same in every experiment, each of which has a database of its own: so ids are the same.
RUN_ID = "crash"
ATTEMPTS = 3
# DBOS waits for a second or so before it tries again what failed with its connection.
LEAST_PATIENCE_S = 5.0


class NothingToExplore(AexpError):
    """The baseline shows no write at which anything could be killed."""


class Unexplored(AexpError):
    """A signal came before there was anything to report (exit code 130)."""

    exit_code = Interrupted.exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be explored. ``points`` None means all of them; ``replay`` is the only one.

    ``template`` names a database with the tables that the workflow needs, of which each experiment
    gets a copy.
    """

    target: str
    scenario: Scenario[Any]
    parameters: Any
    sides: Sequence[Side] = tuple(Side)
    points: int | None = None
    seed: int = 0
    jobs: int = 2
    all_writes: bool = False
    deadline_s: float = 30.0
    replay: Point | None = None
    template: str | None = None
    command: Sequence[str] = ()


@dataclass(slots=True)
class Tally:
    """How far an exploration has come, for whoever watches."""

    doing: str = "starting"
    planned: int | None = None
    held: int = 0
    broken: int = 0
    void: int = 0
    began_at: float | None = None

    @property
    def done(self) -> int:
        """Points that are decided."""
        return self.held + self.broken + self.void

    def count(self, result: PointResult) -> None:
        """One more is."""
        if result.void is not None:
            self.void += 1
        elif result.broken:
            self.broken += 1
        else:
            self.held += 1


@dataclass(slots=True)
class Explorer:
    """Explores one request on the server of ``url``."""

    request: Request
    settings: Settings
    url: DatabaseUrl
    tally: Tally = field(default_factory=Tally)

    async def explore(self, stop: Stop) -> Exploration:
        """Make every experiment, or as many as there is time for until ``stop`` is asked for.

        Raises what ends the baseline: WorkerFailed, NothingToExplore, DatabaseError, UsageError.
        """
        began_at = time.monotonic()
        async with self._laboratory() as laboratory:
            self.tally.doing = "baseline"
            async with _until(stop) as cut:
                baseline, evidence, unsteady = await self._baseline(laboratory)
            if cut.cancelled_caught:
                raise Unexplored("interrupted before the first point")
            planned, possible = self._plan(baseline)
            self.tally.doing, self.tally.planned = "exploring", len(planned)
            exploring_from = self.tally.began_at = time.monotonic()
            patient = replace(laboratory, patience_s=_patience_s(baseline))
            results = await self._carry_out(patient, planned, evidence, stop)
            exploring_s = time.monotonic() - exploring_from
        request = self.request
        return Exploration(
            scenario=request.scenario.name,
            target=request.target,
            parameters=laboratory.run.parameters,
            seed=request.seed,
            jobs=request.jobs,
            baseline=baseline,
            planned=planned,
            possible=possible,
            bookkeeping=sum(seen.write.bookkeeping for seen in baseline.writes),
            unsteady=unsteady,
            results=results,
            elapsed_s=time.monotonic() - began_at,
            exploring_s=exploring_s,
            interrupted=stop.asked() and len(results) < len(planned),
            replay=request.command,
            settings=self.settings.echo(),
        )

    @asynccontextmanager
    async def _laboratory(self) -> AsyncIterator[Laboratory]:
        request = self.request
        with scenario_code(request.scenario, "facts"):
            facts = await request.scenario.facts(request.parameters)
        run = Run(
            run_id=RUN_ID,
            scenario=request.scenario.name,
            target=request.target,
            parameters=request.parameters.model_dump(mode="json"),
            facts=facts,
            application_version=application_version(RUN_ID),
        )

        async def prepare(template: DatabaseUrl) -> None:
            async with connected(template) as connection:
                await begin_run(connection, run)

        async with (
            open_workers(request.target, seed=request.seed) as workers,
            open_databases(self.url, prepare, origin=request.template) as databases,
        ):
            yield Laboratory(
                databases=databases,
                workers=workers,
                run=run,
                scenario=request.scenario,
                settings=self.settings,
                deadline_s=request.deadline_s,
                show_logs=request.replay is not None,
            )

    async def _baseline(self, laboratory: Laboratory) -> tuple[Baseline, Evidence, list[str]]:
        """Two runs without a fault: the first is what all others are compared with, the second one
        says whether any two runs agree at all. A replay makes one."""
        laboratory = replace(laboratory, show_logs=False)
        first = await laboratory.experiment(keep_timeline=True)
        _check_alone(first, laboratory)
        timeline = first.timeline
        assert timeline is not None
        second = (
            first if self.request.replay is not None else await laboratory.experiment(first_life=1)
        )
        baseline = Baseline(
            writes=first.writes,
            began_at=first.began_at,
            clock_offset_s=time.time() - time.monotonic(),
            seconds=first.seconds,
            verdicts=self._judge(first.evidence, second.evidence),
            report=first.report,
            timeline=timeline,
        )
        again = {seen.write.point for seen in second.writes}
        unsteady = [
            seen.write.point
            for seen in first.writes
            if seen.write.point not in again and self._counts(seen.write.bookkeeping)
        ]
        return baseline, first.evidence, unsteady

    def _counts(self, bookkeeping: bool) -> bool:  # noqa: FBT001
        return self.request.all_writes or not bookkeeping

    def _plan(self, baseline: Baseline) -> tuple[list[Point], int]:
        request = self.request
        writes = [s.write.point for s in baseline.writes if self._counts(s.write.bookkeeping)]
        if not writes:
            raise NothingToExplore(
                f"{request.scenario.name} wrote nothing that could be lost: there is no point at"
                " which to kill it (--all-writes takes the bookkeeping too)"
            )
        possible = order_points(writes, request.sides)
        if request.replay is not None:
            return [request.replay], len(possible)
        return sample(possible, request.points, request.seed), len(possible)

    async def _carry_out(
        self, laboratory: Laboratory, planned: Sequence[Point], baseline: Evidence, stop: Stop
    ) -> list[PointResult]:
        """``jobs`` experiments at a time; their results in the order of the plan."""
        results: dict[Point, PointResult] = {}
        waiting = iter(planned)

        async def work(waiting: Iterator[Point]) -> None:
            for point in waiting:
                result = await self._decide(laboratory, point, baseline)
                results[point] = result
                self.tally.count(result)

        async with _until(stop), anyio.create_task_group() as working:
            for _ in range(self.request.jobs):
                working.start_soon(work, waiting)
        return [results[point] for point in planned if point in results]

    async def _decide(
        self, laboratory: Laboratory, point: Point, baseline: Evidence
    ) -> PointResult:
        """The point's result; one whose fault did not land is tried again."""
        began_at = time.monotonic()
        for attempt in range(1, ATTEMPTS + 1):
            experiment = await laboratory.experiment(point.faults)
            void = void_reason(experiment)
            result = PointResult(
                point=point,
                verdicts=self._judge(baseline, experiment.evidence, experiment.doubted),
                void=void,
                attempts=attempt,
                duplicates=experiment.evidence.duplicates,
                recovery_s=experiment.evidence.recovery_s,
                restarted=experiment.evidence.restarted,
                seconds=time.monotonic() - began_at,
                log=[line for life in experiment.evidence.lives for line in life.log],
            )
            if void is None:
                break
        return result

    def _judge(
        self,
        baseline: Evidence,
        found: Evidence,
        doubted: frozenset[tuple[str, int, int]] = frozenset(),
    ) -> list[Verdict]:
        with scenario_code(self.request.scenario, "comparable"):
            comparable = [
                self.request.scenario.comparable(each.outcome)
                if each.status == "SUCCESS"
                else each.outcome
                for each in (baseline, found)
            ]
        expected, outcome = comparable
        return judge_experiment(Comparison(baseline, found, expected, outcome, doubted))


@asynccontextmanager
async def _until(stop: Stop) -> AsyncIterator[anyio.CancelScope]:
    """What is done in the context is cut short when ``stop`` is asked for."""
    with anyio.CancelScope() as cut:
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                await stop.event.wait()
                cut.cancel()

            group.start_soon(watch)
            yield cut
            group.cancel_scope.cancel()


def _patience_s(baseline: Baseline) -> float:
    """How long a worker may write nothing: much longer than it ever did without a fault."""
    times = [seen.at for seen in baseline.writes if not seen.write.bookkeeping]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return max(LEAST_PATIENCE_S, 5 * max(gaps, default=0.0))


def _check_alone(experiment: Experiment, laboratory: Laboratory) -> None:
    """Raise unless the run without a fault came to its end, through the proxy."""
    life = experiment.evidence.lives[-1]
    if life.code is None:
        raise UsageError(
            f"the run did not end within {laboratory.deadline_s:g} s without any fault:"
            " give it less to do, or a longer --deadline"
        )
    if life.code != 0:
        said = next((line for line in reversed(life.log) if line.strip()), "it said nothing")
        raise WorkerFailed(life.pid, life.code, said.removeprefix("aexp: error: "))
    if not experiment.connections:
        raise NothingToExplore(
            "the worker made no connection to the database that it was told to use: what it writes"
            " elsewhere cannot be seen"
        )
