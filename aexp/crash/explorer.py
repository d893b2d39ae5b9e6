"""Explore a run: a baseline, every durable write of it as a point, each point an experiment."""

from __future__ import annotations

import difflib
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

import anyio

from aexp.crash.attribution import attribute_findings
from aexp.crash.baseline import (
    DEADLINE_S,
    LONGEST_BASELINE_S,
    make_baseline,
    outcome_of,
)
from aexp.crash.experiment.laboratory import Laboratory, void_reason
from aexp.crash.experiment.outages import open_stoppable
from aexp.crash.experiment.private_server import require_private_server
from aexp.crash.experiment.user_databases import open_user_databases
from aexp.crash.experiment.worker_sequence import Terms
from aexp.crash.experiment.workers import open_workers
from aexp.crash.judge.evidence import Seen
from aexp.crash.judge.fault_free import FaultFreeRuns
from aexp.crash.judge.findings import FindingKey, LeastReplay
from aexp.crash.judge.points import Point, untried_kinds
from aexp.crash.judging import KnownRuns, judge_point
from aexp.crash.plans import plan_downtimes, plan_pairs, plan_points, plan_stops
from aexp.crash.proxy.server import find_server
from aexp.crash.request import ExplorationProgress, ExplorationRequest, Unexplored, is_point
from aexp.crash.results import Baseline, Exploration, PointResult
from aexp.database import DatabaseUrl
from aexp.database.copies import open_copies
from aexp.engine.runtime import application_version
from aexp.errors import AexpError, UsageError, first_of_ours
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
    least: Mapping[FindingKey, LeastReplay] = field(default_factory=dict)
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
                baseline, known, unsteady = await make_baseline(self.request, laboratory)
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
                await self._explore_writes(writes, found, patient, known, stop)
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
            least=found.least,
            replay=request.command,
            settings=self.settings.echo(),
            study=request.study,
        )

    async def _explore_writes(
        self,
        writes: Sequence[str],
        found: _Found,
        laboratory: Laboratory,
        known: KnownRuns,
        stop: Stop,
    ) -> None:
        """Explore what can be done at these ``writes``, one kind of point after the other."""
        self._check_replay(known.runs)
        explore = partial(self._explore_points, found, laboratory, known, stop)
        await explore(plan_points(self.request, writes, known.runs.first))
        await explore(plan_downtimes(self.request, writes, known.runs.first))
        await explore(plan_pairs(self.request, found.results))
        await explore(plan_stops(self.request, writes))
        if self.request.replay is None and self.request.study == "crash":
            found.untried = untried_kinds(writes, found.planned)
        await self._attribute(found, laboratory, known, stop)

    @asynccontextmanager
    async def _laboratory(self) -> AsyncIterator[Laboratory]:
        request = self.request
        with scenario_code(request.scenario, "facts"):
            facts = await request.scenario.facts(request.parameters)
        # A default may be another one under the later code, which a call that gives none gets.
        given = None if request.later is None else request.parameters.model_fields_set
        # Each experiment's run has it with a number after it.
        run_id = f"crash-{secrets.token_hex(_TOKEN_BYTES)}"
        run = Run(
            run_id=run_id,
            scenario=request.scenario.name,
            target=request.target,
            parameters=request.parameters.model_dump(mode="json", include=given),
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
                seed=request.seed,
                later=request.later,
            )
            yield Laboratory(
                databases=databases,
                server=await find_server(databases.template),
                scenario=request.scenario,
                terms=terms,
                others=others,
                stubs=request.http,
            )

    def _check_replay(self, runs: FaultFreeRuns) -> None:
        """Raise where the point to replay begins with a write that no run without a fault makes."""
        if (replay := self.request.replay) is None:
            return
        first = replay.faults[0].write
        if not any(seen.write.point == first for run in runs.runs for seen in run.writes):
            names = [seen.write.point for seen in runs.first.writes if self._counts(seen)]
            near = difflib.get_close_matches(first, names, n=1, cutoff=0)
            raise UsageError(
                f"the run has no write {first!r}: it was none of its {len(names)} without a fault,"
                f" of which {near[0]!r} is the nearest; `--json` lists them"
                if near
                else f"the run has no write {first!r}, nor any other"
            )

    def _counts(self, seen: Seen) -> bool:
        return is_point(seen.write, all_writes=self.request.all_writes)

    async def _explore_points(
        self,
        found: _Found,
        laboratory: Laboratory,
        known: KnownRuns,
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
        earlier = {result.point: result for result in found.results}
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
                    without = earlier.get(replace(point, down_s=None))
                    result = await self._decide(ours, point, known, without)
                    results[point] = result
                    self.tally.count(result)

        try:
            async with until_stopped(stop), anyio.create_task_group() as working:
                for _ in range(min(self.request.jobs, len(planned))):
                    working.start_soon(work)
        except* AexpError as errors:
            found.failure = first_of_ours(errors)
        found.results += [results[point] for point in planned if point in results]

    async def _attribute(
        self, found: _Found, laboratory: Laboratory, known: KnownRuns, stop: Stop
    ) -> None:
        """Find out what brings out each divergence, unless ``stop`` is asked for."""
        request = self.request
        if request.worlds is None or request.replay is not None or found.failure is not None:
            return

        async def decide(point: Point) -> PointResult:
            return await self._decide(laboratory, point, known)

        self.tally.doing = "naming causes"
        async with until_stopped(stop):
            found.least = await attribute_findings(found.results, decide, jobs=self.request.jobs)

    async def _decide(
        self,
        laboratory: Laboratory,
        point: Point,
        known: KnownRuns,
        without_downtime: PointResult | None = None,
    ) -> PointResult:
        """Decide the point's result; one whose fault did not land is tried again. With a downtime
        it takes what comes of it without one.
        """
        if point.down_s is not None and without_downtime is None:
            without_downtime = await self._decide(laboratory, replace(point, down_s=None), known)
        if without_downtime is not None and without_downtime.void is not None:
            # There is nothing to compare with.
            return replace(without_downtime, point=point)
        attempts, void = 0, None
        while attempts == 0 or (void is not None and attempts < ATTEMPTS):
            attempts += 1
            experiment = await laboratory.experiment(point, upgraded=self.request.later is not None)
            void = void_reason(experiment)
        outcome = outcome_of(
            self.request.scenario, experiment.evidence.status, experiment.evidence.outcome
        )
        return judge_point(
            self.request, point, experiment, outcome, known, void, attempts, without_downtime
        )


def _patience_s(baseline: Baseline) -> float:
    """Return how long a worker may write nothing: much longer than it ever did without a fault."""
    times = [seen.at for seen in baseline.writes if not seen.write.bookkeeping]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return max(LEAST_PATIENCE_S, 5 * max(gaps, default=0.0))
