"""Explore a run: a baseline, every durable write of it as a point, each point an experiment."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

import anyio

from aexp.crash.baseline import (
    DEADLINE_S,
    LONGEST_BASELINE_S,
    is_point,
    make_baseline,
    outcome_of,
)
from aexp.crash.experiment.laboratory import Laboratory, void_reason
from aexp.crash.experiment.outages import open_stoppable
from aexp.crash.experiment.private_server import require_private_server
from aexp.crash.experiment.user_databases import open_user_databases
from aexp.crash.experiment.worker_sequence import Terms
from aexp.crash.experiment.workers import open_workers
from aexp.crash.judge.comparison import BaselineComparison, FaultFreeRuns
from aexp.crash.judge.evidence import Evidence, Seen
from aexp.crash.judge.notes import describe_point
from aexp.crash.judge.points import (
    STOPS,
    ZOMBIE_SIDES,
    Point,
    order_pairs,
    order_points,
    order_restarts,
    sample,
    untried_kinds,
)
from aexp.crash.judge.repetitions import repeated_steps
from aexp.crash.judge.requests import repeated_requests
from aexp.crash.judge.verdicts import judge_experiment
from aexp.crash.proxy.server import find_server
from aexp.crash.request import ExplorationProgress, ExplorationRequest, NothingToExplore, Unexplored
from aexp.crash.results import Baseline, Exploration, PointResult
from aexp.database import DatabaseUrl
from aexp.database.copies import open_copies
from aexp.engine.runtime import application_version
from aexp.errors import AexpError, first_of_ours
from aexp.model.run import Run
from aexp.model.scenario import scenario_code
from aexp.processes.child import ForkServer
from aexp.processes.signals import Stop, until_stopped
from aexp.settings import Settings

__all__ = ["Explorer"]

_TOKEN_BYTES = 4
ATTEMPTS = 3
# A run that was killed has to begin again, and may have to wait for what was lost.
_MOST_TIMES_LONGER = 3
# DBOS waits for a second or so before it tries again what failed with its connection.
LEAST_PATIENCE_S = 5.0


@dataclass(slots=True)
class _Found:
    """What was planned, of how many points, what came of it, and the error that ended it."""

    planned: list[Point] = field(default_factory=list)
    possible: int = 0
    untried: Mapping[str, int] = field(default_factory=dict)
    results: list[PointResult] = field(default_factory=list)
    failure: AexpError | None = None


@dataclass(slots=True)
class Explorer:
    """Explores one request on the server of ``url``.

    Its workers are forked by ``servers``, which explorations on one loop share, or by its own.
    """

    request: ExplorationRequest
    settings: Settings
    url: DatabaseUrl
    servers: Sequence[ForkServer] = ()
    tally: ExplorationProgress = field(default_factory=ExplorationProgress)

    async def explore(self, stop: Stop) -> Exploration:
        """Make every experiment, or as many as there is time for until ``stop`` is asked for.

        Raises what ends the baseline: WorkerFailed, NothingToExplore, DatabaseError, UsageError.
        An error that ends the experiments after it is the ``failure`` of what was found until then.
        """
        if self.request.stops_server:
            require_private_server()
        began_at = time.monotonic()
        async with self._laboratory() as laboratory:
            self.tally.doing = "baseline"
            async with until_stopped(stop) as cut:
                baseline, runs, unsteady = await make_baseline(self.request, laboratory)
            if cut.cancelled_caught:
                raise Unexplored("interrupted before the first point")
            exploring_from = self.tally.began_at = time.monotonic()
            terms = replace(
                laboratory.terms,
                patience_s=_patience_s(baseline),
                deadline_s=self.request.deadline_s
                or max(DEADLINE_S, _MOST_TIMES_LONGER * baseline.seconds),
            )
            patient = replace(laboratory, terms=terms)
            found = _Found()
            if baseline.ends_as_expected:
                writes = [
                    seen.write.point
                    for seen in baseline.writes
                    if self._counts(seen) and seen.write.point not in unsteady
                ]
                explore = partial(self._explore_points, found, patient, runs, stop)
                await explore(self._plan(writes, runs.first))
                await explore(self._pairs(found.results))
                await explore(self._stops(writes))
                if self.request.replay is None:
                    found.untried = untried_kinds(writes, found.planned)
            exploring_s = time.monotonic() - exploring_from
        request = self.request
        return Exploration(
            scenario=request.scenario.name,
            target=request.place or request.target,
            parameters=laboratory.run.parameters,
            seed=request.seed,
            jobs=request.jobs,
            baseline=baseline,
            planned=found.planned,
            possible=found.possible,
            untried=found.untried,
            unsteady=unsteady,
            results=found.results,
            elapsed_s=time.monotonic() - began_at,
            exploring_s=exploring_s,
            interrupted=stop.asked() and len(found.results) < len(found.planned),
            failure=found.failure,
            replay=request.command,
            settings=self.settings.echo(),
        )

    @asynccontextmanager
    async def _laboratory(self) -> AsyncIterator[Laboratory]:
        request = self.request
        with scenario_code(request.scenario, "facts"):
            facts = await request.scenario.facts(request.parameters)
        # Each experiment's run has it with a number after it.
        run_id = f"crash-{secrets.token_hex(_TOKEN_BYTES)}"
        run = Run(
            run_id=run_id,
            scenario=request.scenario.name,
            target=request.target,
            parameters=request.parameters.model_dump(mode="json"),
            facts=facts,
            application_version=application_version(run_id),
        )
        async with (
            open_workers(request.target, seed=request.seed, servers=self.servers) as workers,
            open_copies(self.url, prefix="aexp_crash", origin=request.template) as databases,
            open_user_databases(request.user_databases) as others,
        ):
            terms = Terms(
                run=run,
                settings=self.settings,
                workers=workers,
                deadline_s=request.deadline_s or LONGEST_BASELINE_S,
                show_logs=request.replay is not None,
                ignored_tables=request.ignored_tables,
                allow_outside=request.allow_outside,
                surroundings=request.surroundings,
            )
            yield Laboratory(
                databases=databases,
                server=await find_server(databases.template),
                scenario=request.scenario,
                terms=terms,
                others=others,
                stubs=request.http,
            )

    def _counts(self, seen: Seen) -> bool:
        return is_point(seen.write, all_writes=self.request.all_writes)

    def _plan(self, writes: Sequence[str], evidence: Evidence) -> tuple[list[Point], int]:
        """Plan the points of single faults and wrong restarts, and count all possible ones."""
        request = self.request
        if not writes:
            raise NothingToExplore(
                f"{request.scenario.name} wrote nothing that could be lost: there is no point at"
                " which to kill it (--all-writes takes the bookkeeping too)"
            )
        possible = order_points(writes, request.sides)
        if request.replay is not None:
            return [request.replay], len(possible)
        known = [point for point in request.first if point in possible]
        others = sample(possible, request.points, request.seed)
        chosen = [*known, *(point for point in others if point not in known)]
        if request.stranded:
            instances = any(row.instance is not None for row in evidence.workflows)
            # While the root has not ended, which is its last write.
            restarts = order_restarts(writes[:-1] or writes, instances=instances)
            chosen, possible = [*chosen, *restarts], [*possible, *restarts]
        if request.zombie != 0:
            zombies = order_points(writes, ZOMBIE_SIDES)
            chosen = [*chosen, *sample(zombies, request.zombie, request.seed)]
            possible = [*possible, *zombies]
        return chosen, len(possible)

    def _pairs(self, results: Sequence[PointResult]) -> tuple[list[Point], int]:
        """Plan second kills in the recoveries that were seen, and count all possible ones."""
        request = self.request
        recoveries = {
            result.point: result.recovery
            for result in results
            if result.point is not None
            and result.held
            and result.point.restart is None
            and result.point.faults[-1].side.kills
        }
        if request.double == 0 or request.replay is not None:
            return [], 0
        possible = order_pairs(recoveries, request.sides)
        return sample(possible, request.double, request.seed), len(possible)

    def _stops(self, writes: Sequence[str]) -> tuple[list[Point], int]:
        """Plan stops of the server, and count all possible ones."""
        request = self.request
        if request.postgres == 0 or request.replay is not None:
            return [], 0
        possible = order_points(writes, STOPS)
        return sample(possible, request.postgres, request.seed), len(possible)

    async def _explore_points(
        self,
        found: _Found,
        laboratory: Laboratory,
        baseline: FaultFreeRuns,
        stop: Stop,
        plan: tuple[Sequence[Point], int],
    ) -> None:
        """Add the plan to what was ``found``, and the results in its order, ``jobs`` experiments at
        a time; nothing when an error has ended those before.
        """
        planned, possible = plan
        if not planned or found.failure is not None:
            return
        found.planned += planned
        found.possible += possible
        self.tally.doing, self.tally.planned = "exploring", len(found.planned)
        results: dict[Point, PointResult] = {}
        waiting = iter(planned)
        stoppable, opening = any(point.stops_server for point in planned), anyio.Lock()

        async def work() -> None:
            async with AsyncExitStack() as stack:
                ours = laboratory
                if stoppable:
                    # The first one on a machine makes the system user that it runs as.
                    async with opening:
                        ours = await stack.enter_async_context(open_stoppable(laboratory))
                for point in waiting:
                    result = await self._decide(ours, point, baseline)
                    results[point] = result
                    self.tally.count(result)

        try:
            async with until_stopped(stop), anyio.create_task_group() as working:
                for _ in range(min(self.request.jobs, len(planned))):
                    working.start_soon(work)
        except* AexpError as errors:
            found.failure = first_of_ours(errors)
        found.results += [results[point] for point in planned if point in results]

    async def _decide(
        self, laboratory: Laboratory, point: Point, baseline: FaultFreeRuns
    ) -> PointResult:
        """Decide the point's result; one whose fault did not land is tried again."""
        attempts, void = 0, None
        while attempts == 0 or (void is not None and attempts < ATTEMPTS):
            attempts += 1
            experiment = await laboratory.experiment(point.faults, point.restart)
            void = void_reason(experiment)
        found = experiment.evidence
        comparison = BaselineComparison(
            baseline,
            found,
            outcome_of(self.request.scenario, found.status, found.outcome),
            experiment.doubted,
            frozenset(self.request.once),
        )
        return PointResult(
            point=point,
            verdicts=judge_experiment(comparison),
            void=void,
            attempts=attempts,
            duplicates=found.duplicates,
            recovery_s=found.recovery_s,
            restarted=found.restarted,
            stranded=next((life.stranded for life in found.lives if life.stranded), None),
            recovery=[
                seen.write.point
                for seen in experiment.evidence.writes
                if seen.life > experiment.landed[-1].life and self._counts(seen)
            ]
            if void is None
            else (),
            take_over=found.take_over,
            log=[line for life in found.lives for line in life.log],
            notes=describe_point(comparison),
            repeated=repeated_steps(found),
            requests=repeated_requests(comparison),
        )


def _patience_s(baseline: Baseline) -> float:
    """Return how long a worker may write nothing: much longer than it ever did without a fault."""
    times = [seen.at for seen in baseline.writes if not seen.write.bookkeeping]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return max(LEAST_PATIENCE_S, 5 * max(gaps, default=0.0))
