"""Two executors on one run: one is stopped at a write, the other takes its work over, and then the
first goes on and knows nothing of it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import anyio.to_thread
from dbos import DBOSClient

from aexp.crash.experiment.changes import note_changes, read_changes, read_clock, read_numbers
from aexp.crash.experiment.faults import Watch
from aexp.crash.experiment.worker_sequence import (
    LAST_LINES,
    ExperimentSetup,
    Terms,
    make_job,
    read_log,
)
from aexp.crash.experiment.workers import WorkerJob
from aexp.crash.judge.evidence import LifeRecord, Seen
from aexp.crash.judge.ownership import Takeover
from aexp.crash.proxy.server import open_proxy
from aexp.database.connect import connected, psycopg_engine, refusals_told
from aexp.processes.child import Child
from aexp.runs.host import release_claims
from aexp.runs.leases import session_name

__all__ = ["TakeoverSequence"]

_LOOK_S = 0.1
# So long after its last write, one who waits for a lock of the stopped executor has nothing else
# to do.
_QUIET_S = 1.0

_HELD_UP = """
    SELECT EXISTS (
        SELECT FROM pg_stat_activity AS waiting
            JOIN pg_stat_activity AS holding ON holding.pid = ANY(pg_blocking_pids(waiting.pid))
        WHERE waiting.datname = current_database() AND waiting.wait_event_type = 'Lock'
            AND holding.application_name = $1
    )
"""


@dataclass(slots=True)
class TakeoverSequence:
    """The stopped worker and the one that takes its work over, in this order.

    Each has a door of its own to the database, so that what they write is told apart.
    """

    terms: Terms
    setup: ExperimentSetup
    watch: Watch
    first_life: int
    records: list[LifeRecord] = field(default_factory=list)
    stood: list[bool | None] = field(default_factory=list)
    take_over: Takeover | None = None
    _heir_watch: Watch = field(default_factory=lambda: Watch(()))

    @property
    def writes(self) -> list[Seen]:
        """What either has made durable, in order."""
        return sorted([*self.watch.writes, *self._heir_watch.writes], key=lambda seen: seen.at)

    async def live(self) -> None:
        """Start the one; at the write stop it, start the other, and let both come to their end."""
        await note_changes(self.setup.connection)
        job = make_job(self.terms, self.setup, 0)
        self.watch.expect(0)
        async with self._worker(job, self.first_life, stops=True) as old:
            self.watch.meet(old)
            if not await self._is_reached(old):
                return
            self.stood.append(None)
            async with self._heir() as heir, anyio.create_task_group() as group:
                group.start_soon(self._hand_over)
                # Here: a task group hides from whoever is outside what it was.
                with refusals_told(self.setup.url):
                    waited_for = await self._until_idle(heir)
                    connection = self.setup.connection
                    earlier, clock = await read_numbers(connection), await read_clock(connection)
                old.go_on()
                self.watch.pause.released.set()
                with anyio.move_on_after(self.terms.deadline_s):
                    await heir.ended.wait()
                    await old.ended.wait()
                group.cancel_scope.cancel()
        self.take_over = Takeover(
            executor_id=self._executor_id,
            heir_id=self._heir_id,
            life=0,
            stopped_at=self.watch.landed[-1].at,
            waited_for=waited_for,
            changes=await read_changes(
                self.setup.connection,
                sessions={self._session(name): name for name in (self._executor_id, self._heir_id)},
                earlier=earlier,
                continued_at=clock,
            ),
        )

    @property
    def _executor_id(self) -> str:
        return self.terms.settings.executor_id

    @property
    def _heir_id(self) -> str:
        return f"heir-of-{self._executor_id}"

    def _session(self, executor_id: str) -> str:
        return session_name(self.setup.run.run_id, executor_id)

    @asynccontextmanager
    async def _heir(self) -> AsyncIterator[Child]:
        folder = self.setup.folder / "heir"
        await anyio.Path(folder).mkdir()
        proxy = self.setup.proxy
        async with open_proxy(
            self.setup.url,
            folder,
            self._heir_watch,
            server=proxy.server,
            run_id=self.setup.run.run_id,
        ) as door:
            job = make_job(self.terms, self.setup, 1, url=door.url, executor_id=self._heir_id)
            self._heir_watch.expect(1)
            async with self._worker(job, self.first_life + 1) as heir:
                yield heir

    @asynccontextmanager
    async def _worker(
        self, job: WorkerJob, life: int, *, stops: bool = False
    ) -> AsyncIterator[Child]:
        """Start a worker, which is dead and on record when the context ends."""
        worker = await self.terms.workers.start(job, life)
        place = len(self.records)
        try:
            yield worker
        finally:
            ended = worker.code is not None
            worker.kill()
            self.watch.pause.released.set()
            with anyio.CancelScope(shield=True):
                code = await worker.wait()
        log = await read_log(job, show=self.terms.show_logs)
        # The first one to start is the last to leave.
        self.records.insert(
            place,
            LifeRecord(
                pid=worker.pid,
                code=code if ended else None,
                killed=False,
                stopped=stops,
                log=log.splitlines()[-LAST_LINES:],
            ),
        )

    async def _is_reached(self, old: Child) -> bool:
        """Wait until it stands still at the write; False when it came to its end, or to none."""
        async with anyio.create_task_group() as group:

            async def cut_short() -> None:
                await old.ended.wait()
                group.cancel_scope.cancel()

            group.start_soon(cut_short)
            with anyio.move_on_after(self.terms.deadline_s):
                await self.watch.pause.stopped.wait()
            group.cancel_scope.cancel()
        return self.watch.pause.stopped.is_set()

    async def _hand_over(self) -> None:
        # What it does waits for the transactions that the stopped one holds open.
        engine = psycopg_engine(self.setup.url, pool_size=1)
        try:
            client = DBOSClient(system_database_engine=engine, lazy=True)
            with refusals_told(self.setup.url):
                async with connected(self.setup.url) as connection:
                    await release_claims(
                        connection, client, self._executor_id, self.setup.run.run_id
                    )
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(engine.dispose)

    async def _until_idle(self, heir: Child) -> str | None:
        """Wait until the other can do no more; what kept it from the end of the run, None if it
        came there.
        """
        began_at = time.monotonic()
        holder = self._session(self._executor_id)
        known, quiet_s = 0, 0.0
        while time.monotonic() - began_at < self.terms.deadline_s:
            with anyio.move_on_after(_LOOK_S):
                code = await heir.wait()
                return None if code == 0 else f"nothing: it ended with {code}"
            # By looks and not by the clock: where the machine stalls, so does the other executor.
            wrote = len(self._heir_watch.writes)
            known, quiet_s = wrote, quiet_s + _LOOK_S if wrote == known else 0.0
            if not wrote:
                continue  # It has not begun yet.
            if quiet_s > _QUIET_S and await self.setup.connection.fetchval(_HELD_UP, holder):
                return "a transaction that the stopped executor holds open"
            if quiet_s > self.terms.patience_s:
                return "the stopped executor"
        return "its deadline"
