"""A run that a host works on: supervised processes see to its end, its events are recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import asyncpg
import structlog

from aexp.database import DatabaseUrl
from aexp.database.connect import borrowed, connected
from aexp.database.retry import retry_on_disconnect
from aexp.engine.tables.workflows import status_of
from aexp.errors import DatabaseError, WorkerFailed
from aexp.model.run import Run
from aexp.processes.progress import Reached, Snapshot
from aexp.processes.signals import Stop, until_stopped
from aexp.runs.host.events import Journal
from aexp.runs.host.executors import Serves
from aexp.runs.host.progress import RunCounts
from aexp.runs.kill_plan import KillPlan
from aexp.runs.leases import is_leased
from aexp.runs.run_processes import RunProcesses
from aexp.runs.supervisor import Supervision, Supervisor
from aexp.settings import Settings

__all__ = ["ActiveRun", "RunDriver"]

# Progress is written down so often at most.
_PROGRESS_INTERVAL_S = 0.25
_POLL_S = 0.1
# What other executors do is counted so often at most, and for so small a share of the time.
_COUNT_INTERVAL_S = 1.0
_COUNT_SHARE = 0.05
_COUNT_WITHIN_S = 5.0
_LAST_COUNT_WITHIN_S = 60.0
# A worker that a killed service left behind drains, and then lets go of its run.
_LET_GO_S = 30.0
# While the database is away, and again when a worker fails because it was.
_DATABASE_PATIENCE_S = 600.0
_MOST_FAILURES_IN_A_ROW = 10
_SLOWEST_RETRY_S = 5.0
# Who stops does not wait for a database that may not come back.
_LAST_WORDS_S = 3.0

log = structlog.stdlib.get_logger("aexp.runs.host")


@dataclass(slots=True)
class ActiveRun:
    """A run that is being worked on."""

    run: Run
    plan: KillPlan
    stop: Stop = field(default_factory=Stop)
    ended: anyio.Event = field(default_factory=anyio.Event)
    snapshot: Snapshot = field(default_factory=lambda: Snapshot(0, None, 0, None))
    counted: Reached | None = None
    steps_begun: int = 0
    supervisor: Supervisor | None = None
    changed: anyio.Event = field(default_factory=anyio.Event)
    finished: bool = False
    failed: bool = False

    @property
    def reached(self) -> Reached | None:
        """How far the run has come, as far as that is known here; None when it is not."""
        seen = Reached(self.snapshot.done, self.snapshot.total)
        # Both are too low at most: one lacks what others do, the other is of a moment ago.
        known = [one for one in (seen, self.counted) if one is not None and one.total is not None]
        return max(known, key=lambda one: one.done, default=None)

    def tell(self) -> None:
        """Say that something of it has changed."""
        self.changed.set()
        self.changed = anyio.Event()


class RunDriver:
    """Sees runs to their end. ``steps_begun`` counts the step bodies that it saw, by scenario."""

    def __init__(
        self,
        settings: Settings,
        url: DatabaseUrl,
        pool: asyncpg.Pool[asyncpg.Record],
        journal: Journal,
        counts: RunCounts,
        processes: RunProcesses,
        serves: Serves,
    ) -> None:
        self.steps_begun: Counter[str] = Counter()
        self._settings = settings
        self._url = url
        self._pool = pool
        self._journal = journal
        self._counts = counts
        self._processes = processes
        self._serves = serves

    async def drive(self, active: ActiveRun) -> None:
        """See a run to its end. Whatever goes wrong is this run's affair and no other's."""
        run_id = active.run.run_id
        try:
            await self._write(
                active,
                "run.began",
                {
                    "kills": active.plan.kills - active.plan.landed,
                    "executor_id": self._settings.executor_id,
                },
            )
            async with anyio.create_task_group() as group:
                group.start_soon(self._chronicle, active, active.plan.landed)
                async with anyio.create_task_group() as counting:
                    if self._serves == "service":
                        counting.start_soon(self._count, active)
                    event, data = await self._see_to_end(active)
                    counting.cancel_scope.cancel()
                if event == "run.ended":
                    async with until_stopped(active.stop, _LAST_WORDS_S):
                        await self._count_last(active)
                active.finished = True
                active.failed = event == "run.failed"
                active.tell()
            await self._write(active, event, data)
        except Exception:
            active.failed = True
            log.exception("host.run_drive_failed", run_id=run_id)

    async def _chronicle(self, active: ActiveRun, kills: int) -> None:
        """Write down each kill after ``kills``, and progress as often as somebody may care."""
        written: Mapping[str, Any] = {}
        while True:
            changed, finished = active.changed, active.finished
            while kills < active.plan.landed:
                kills += 1
                await self._write(active, "run.process_killed", {"kills": kills})
            reached = active.reached
            # A worker leaves that to the service, which it would contradict.
            if self._serves == "service" and reached is not None:
                state = {"done": reached.done, "total": reached.total}
                if state != written:
                    written = state
                    await self._write(active, "run.progressed", state)
            if finished:
                return
            await changed.wait()
            if not active.finished:
                await anyio.sleep(_PROGRESS_INTERVAL_S)

    async def _count(self, active: ActiveRun) -> None:
        """Count what has been done while other executors do some of it, until cancelled."""
        executor_id = self._settings.executor_id
        while True:
            began = anyio.current_time()
            if await self._counts.is_shared(active.run, executor_id):
                counted = await self._counts.reached(active.run, _COUNT_WITHIN_S)
                if counted is not None:
                    active.counted = counted
                    active.tell()
            took_s = anyio.current_time() - began
            await anyio.sleep(max(_COUNT_INTERVAL_S, took_s / _COUNT_SHARE))

    async def _count_last(self, active: ActiveRun) -> None:
        """Count what others have done since somebody looked, if anything is missing."""
        reached = active.reached
        if reached is None or reached.total is None or reached.done < reached.total:
            counted = await self._counts.reached(active.run, _LAST_COUNT_WITHIN_S)
            active.counted = counted or active.counted

    async def _see_to_end(self, active: ActiveRun) -> tuple[str, Mapping[str, Any]]:
        """Work on the run; the event that tells how that ended."""
        failures = 0
        while True:
            begun = active.steps_begun
            await self._await_free(active)
            try:
                supervision = await self._work(active)
            except (WorkerFailed, DatabaseError) as error:
                # One that did something before it failed has met another misfortune.
                failures = failures + 1 if active.steps_begun == begun else 1
                log.warning(
                    "host.worker_failed",
                    run_id=active.run.run_id,
                    error=str(error),
                    failures=failures,
                )
                again = error.exit_code == DatabaseError.exit_code
                if not again or not await self._database_returns(active, failures):
                    return "run.failed", {"error": str(error)}
                continue
            if supervision.interrupted:
                return "run.interrupted", {}
            async with until_stopped(active.stop, _LAST_WORDS_S) as cut:
                status = await retry_on_disconnect(lambda: status_of(self._pool, active.run.run_id))
            if cut.cancelled_caught:
                return "run.interrupted", {}
            return "run.ended", {"status": status, "kills": supervision.landed}

    async def _work(self, active: ActiveRun) -> Supervision:
        """Work on the run until it has ended or its worker fails."""
        before = 0

        def watch(_restarts: int, snapshot: Snapshot) -> None:
            nonlocal before
            # Each process counts from the beginning.
            new = snapshot.steps - before if snapshot.steps >= before else snapshot.steps
            before = snapshot.steps
            active.steps_begun += new
            self.steps_begun[active.run.scenario] += new
            active.snapshot = snapshot
            active.tell()

        active.supervisor = Supervisor(
            active.run,
            self._settings,
            self._url,
            self._processes,
            active.plan,
            watch,
            hosted=True,
        )
        return await active.supervisor.supervise(active.stop)

    async def _await_free(self, active: ActiveRun) -> None:
        """Return when our executor does not hold the run, as one of a killed service may yet do."""
        with anyio.move_on_after(self._settings.drain_timeout_s + _LET_GO_S):
            async with until_stopped(active.stop):
                while await retry_on_disconnect(lambda: self._is_leased(active.run)):
                    await anyio.sleep(_POLL_S)

    async def _is_leased(self, run: Run) -> bool:
        async with borrowed(self._pool) as connection:
            return await is_leased(connection, run.run_id, self._settings.executor_id)

    async def _database_returns(self, active: ActiveRun, failures: int) -> bool:
        """Wait for the database; whether to try again."""
        if failures > _MOST_FAILURES_IN_A_ROW:
            return False
        pause_s = min(_POLL_S * 2**failures, _SLOWEST_RETRY_S)
        with anyio.move_on_after(_DATABASE_PATIENCE_S):
            while not active.stop.asked():
                with anyio.move_on_after(pause_s):
                    await active.stop.event.wait()
                try:
                    async with connected(self._url):
                        return True
                except DatabaseError:
                    continue
            return True
        return False

    async def _write(self, active: ActiveRun, event: str, data: Mapping[str, Any]) -> None:
        run_id = active.run.run_id
        async with until_stopped(active.stop, _LAST_WORDS_S) as cut:
            if event == "run.ended":
                await self._journal.write_end(run_id, data)
            else:
                await self._journal.write(run_id, event, data)
        if cut.cancelled_caught:
            log.warning("host.event_lost", run_id=run_id, lost=event, error="it took too long")
