"""The workers of one experiment, one after the other."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import anyio

from aexp.crash.experiment.faults import Watch
from aexp.crash.experiment.outside import Enclosure
from aexp.crash.experiment.reader import CHECKPOINTS, read_workflows
from aexp.crash.experiment.relative import make_relative
from aexp.crash.experiment.workers import Surroundings, TargetCode, WorkerJob, Workers
from aexp.crash.http.received import ReceivedRequest
from aexp.crash.http.stub import ServedStub
from aexp.crash.judge.evidence import Landed, LifeRecord, Seen, Stranded
from aexp.crash.judge.explanations import OTHER_EXECUTOR, OTHER_VERSION, find_causes
from aexp.crash.judge.points import Point, Restart
from aexp.crash.judge.worlds import World
from aexp.crash.proxy.server import Proxy
from aexp.database import DatabaseUrl
from aexp.database.connect import Connection, connect
from aexp.engine.tables.steps import is_recorded
from aexp.engine.tables.times import move_times
from aexp.engine.tables.workflows import rename_version
from aexp.engine.world.entering import LATER, WorldPlan
from aexp.errors import Standstill
from aexp.model.run import Run
from aexp.processes.child import Child
from aexp.settings import Settings

__all__ = ["LAST_LINES", "ExperimentSetup", "Terms", "WorkerSequence", "make_job", "read_log"]

_T = TypeVar("_T")
# A worker that ends on its own after a lost acknowledgement, or because its server has gone, is
# started again, as anything that supervises it would do; so often at most.
_MOST_RESTARTS = 3
_LOOK_S = 1.0
LAST_LINES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms workers live.

    Each has ``deadline_s`` to come to the end of the run. One that lives on after a lost
    acknowledgement, or was started wrongly, and writes nothing for ``patience_s`` is given up.
    ``show_logs`` copies their log lines to stderr. What stands in ``ignored_tables``, with their
    schema or without, is compared with nothing. With ``allow_outside`` they may reach other servers
    than their own. ``surroundings`` are what each of them finds around it. From ``seed`` follows
    what is drawn in a world. ``later`` is the code that goes on with an upgraded run.
    """

    run: Run
    settings: Settings
    workers: Workers
    deadline_s: float
    seed: int = 0
    patience_s: float = math.inf
    show_logs: bool = False
    ignored_tables: Sequence[str] = ()
    allow_outside: bool = False
    surroundings: Surroundings | None = None
    later: TargetCode | None = None


@dataclass(slots=True)
class ExperimentSetup:
    """One experiment's own: a run, a database, a way round the proxy, the proxy, a folder.

    ``databases`` are its copies of the user's other databases, by the variable that names each,
    ``stubs`` its own by their variables, and ``variables`` what all these say in its workers.
    """

    run: Run
    url: DatabaseUrl
    connection: Connection
    proxy: Proxy
    folder: Path
    databases: Mapping[str, DatabaseUrl] = field(default_factory=dict)
    stubs: Mapping[str, ServedStub] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def requests(self) -> Sequence[ReceivedRequest]:
        """What the stubs received until now, in order."""
        received = [request for stub in self.stubs.values() for request in stub.requests]
        return sorted(received, key=lambda request: request.at)

    def relative(self, value: _T) -> _T:
        """Return ``value`` without what only this experiment has, see :func:`make_relative`."""
        addresses = {stub.address: name for name, stub in self.stubs.items()}
        return make_relative(value, self.run.run_id, addresses)

    @property
    def outside(self) -> Path:
        """Where it is noted that a worker has left the experiment."""
        return self.folder / "outside"

    @property
    def bodies(self) -> Path:
        """Where step bodies are noted."""
        return self.folder / "bodies"

    async def reconnect(self) -> None:
        """Connect anew, once the server has ended what was connected to it."""
        self.connection.terminate()
        self.connection = await connect(self.url)


@dataclass(slots=True)
class WorkerSequence:
    """The workers of one experiment, in which the faults of ``point`` strike; with its ``restart``
    one of them is wrong. After the last fault they live ``down_s`` later, and where ``worlds`` are
    otherwise, before it where all is held that a world may change; when it is ``upgraded`` they run
    the code of the terms' ``later``.
    """

    terms: Terms
    setup: ExperimentSetup
    watch: Watch
    first_life: int
    point: Point
    upgraded: bool = False
    records: list[LifeRecord] = field(default_factory=list)
    stood: list[bool | None] = field(default_factory=list)
    _moved: bool = False
    take_over: None = None

    @property
    def writes(self) -> Sequence[Seen]:
        """What they have made durable, in order."""
        return self.watch.writes

    async def live(self) -> None:
        """Start a worker, and another when a fault has killed it, until the run has ended."""
        restarts = 0
        restart = self.point.restart
        while True:
            struck = len(self.watch.landed)
            wrong = restart if struck == len(self.watch.faults) else None
            async with self._mistaken(wrong):
                record = await self._one_life(len(self.records), wrong)
            if wrong is not None:
                restart = None
            for landed in self.watch.landed[struck:]:
                self.stood.append(await _stands(self.setup.connection, landed))
            if record.code in {0, None}:
                return
            if record.standstill is not None and not (record.stalled or wrong):
                return
            if not (record.killed or record.stalled or wrong):
                restarts += 1
                if not self.watch.landed or restarts > _MOST_RESTARTS:
                    return

    async def one_more(self) -> LifeRecord:
        """Start one more worker on a run that has ended and was opened again; it is not on
        record.
        """
        await self._one_life(len(self.records), None)
        return self.records.pop()

    @asynccontextmanager
    async def _mistaken(self, wrong: Restart | None) -> AsyncIterator[None]:
        """Our runs pin their version to their id, so the rows get another one instead of the
        process: to DBOS that is the same.
        """
        if wrong is not Restart.VERSION:
            yield
            return
        ours = self.setup.run.application_version
        await rename_version(self.setup.connection, ours, OTHER_VERSION)
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await rename_version(self.setup.connection, OTHER_VERSION, ours)

    async def _one_life(self, life: int, wrong: Restart | None) -> LifeRecord:
        job = make_job(
            self.terms,
            self.setup,
            life,
            executor_id=OTHER_EXECUTOR if wrong is Restart.EXECUTOR else None,
            instances=wrong is not Restart.INSTANCE,
        )
        server = life
        if self.upgraded and self._is_last_part():
            later = self.terms.later
            assert later is not None
            run = replace(job.run, target=later.target)
            job = replace(job, run=run, surroundings=later.surroundings)
        if self.point.down_s is not None and self._is_last_part():
            job = replace(job, ahead_s=self.point.down_s)
        if self.point.worlds is not None:
            job, server = await self._in_world(job, self.point.worlds)
        struck = len(self.watch.landed)
        given_up = False
        self.watch.expect(life)
        worker = await self.terms.workers.start(job, self.first_life + server)
        self.watch.meet(worker)
        try:
            with anyio.move_on_after(self.terms.deadline_s) as waiting:
                given_up = await self._goes_quiet(worker, wrong)
            stranded = None
            if wrong is not None and (given_up or worker.code != 0):
                stranded = await self._stranded(job, wrong)
        finally:
            worker.kill()
            with anyio.CancelScope(shield=True):
                code = await worker.wait()
        await self.watch.calm()
        log = await read_log(job, show=self.terms.show_logs)
        stands = code == Standstill.worker_code and wrong is None
        record = LifeRecord(
            pid=worker.pid,
            code=None if waiting.cancelled_caught else code,
            killed=any(landed.code is not None for landed in self.watch.landed[struck:]),
            # After a lost acknowledgement a worker may not know of a claim of its own.
            stalled=(given_up and wrong is None) or (stands and self.watch.lost_in(life)),
            standstill=_last_error(log) if stands else None,
            stranded=stranded,
            log=log.splitlines()[-LAST_LINES:],
        )
        self.records.append(record)
        return record

    def _is_last_part(self) -> bool:
        """Return whether all faults have struck."""
        return len(self.watch.landed) == len(self.watch.faults)

    async def _in_world(self, job: WorkerJob, worlds: frozenset[World]) -> tuple[WorkerJob, int]:
        """Return the job as it is done in the world of the next worker, and who is to fork it."""
        changed = worlds if self._is_last_part() else frozenset()
        if World.CLOCK in changed and not self._moved:
            # No process was down: what has a time has it there, too.
            self._moved = True
            await move_times(self.setup.connection, LATER.total_seconds())
        plan = WorldPlan(
            seed=self.terms.seed,
            run_id=self.setup.run.run_id,
            folder=str(self.setup.folder),
            changed=sorted(changed),
        )
        return replace(job, world=plan), int(World.HASHES in changed)

    async def _goes_quiet(self, worker: Child, wrong: Restart | None) -> bool:
        """Wait for the end of ``worker``; True when it lives on to no purpose instead."""
        began_at = time.monotonic()
        while True:
            with anyio.move_on_after(min(self.terms.patience_s, _LOOK_S)):
                await worker.wait()
                return False
            quiet_s = time.monotonic() - max(self.watch.active_at, began_at)
            in_doubt = wrong is not None or self.watch.lost_in(self.watch.life)
            if in_doubt and quiet_s > self.terms.patience_s:
                return True

    async def _stranded(self, job: WorkerJob, wrong: Restart) -> Stranded:
        causes = find_causes(
            await read_workflows(self.setup.connection),
            executor_id=job.settings.executor_id,
            version=job.run.application_version,
            log=await read_log(job),
        )
        return Stranded(wrong, causes)


def make_job(
    terms: Terms,
    setup: ExperimentSetup,
    life: int,
    *,
    url: DatabaseUrl | None = None,
    executor_id: str | None = None,
    instances: bool = True,
) -> WorkerJob:
    """Make the job of the worker of the ``life``-th life; unless told otherwise, for the settings'
    executor and through the proxy of ``setup``.
    """
    settings = terms.settings
    way = url or setup.proxy.url
    if executor_id is not None:
        settings = settings.model_copy(update={"executor_id": executor_id})
    return WorkerJob(
        run=setup.run,
        settings=settings,
        url=way,
        folder=setup.folder,
        log=setup.folder / f"log.{life}",
        bodies=setup.bodies,
        deadline_s=terms.deadline_s,
        instances=instances,
        variables=setup.variables,
        databases=list(setup.databases.values()),
        enclosure=None
        if terms.allow_outside
        else Enclosure.around(way, list(setup.databases.values()), setup.outside),
        surroundings=terms.surroundings,
    )


def _last_error(log: str) -> str:
    prefix = "aexp: error: "
    errors = [line for line in log.splitlines() if line.startswith(prefix)]
    return errors[-1].removeprefix(prefix) if errors else "nothing of the run can move any more"


async def read_log(job: WorkerJob, *, show: bool = False) -> str:
    """Read what a worker has logged; ``show`` copies it to stderr."""
    path = anyio.Path(job.log)
    log = await path.read_text(errors="replace") if await path.exists() else ""
    if show:
        sys.stderr.write(log)
    return log


async def _stands(connection: Connection, landed: Landed) -> bool | None:
    """Return whether the checkpoint that the fault struck at stands; None if it is none."""
    write = landed.write
    if CHECKPOINTS not in write.name or write.step_id is None:
        return None
    if landed.outage is not None:
        # Since then the worker, which lives on, may have written it.
        return (write.workflow_id, write.step_id) in landed.outage.standing
    return await is_recorded(connection, write.workflow_id, write.step_id)
