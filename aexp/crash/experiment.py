"""One experiment: a fresh database, a worker behind the proxy, the faults of a point, restarts
until the run has ended, and the evidence that it leaves."""

from __future__ import annotations

import math
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from aexp.crash.databases import Databases
from aexp.crash.evidence import Evidence, LifeRecord
from aexp.crash.faults import Landed, Seen, Watch
from aexp.crash.gather import CHECKPOINTS, TRANSACTIONS, gather_evidence
from aexp.crash.plan import Fault, Side
from aexp.crash.proxy import Proxy, open_proxy
from aexp.crash.workers import LAST_LINES, Order, Worker, Workers
from aexp.database import DatabaseUrl
from aexp.database.connect import Connection, connected
from aexp.report import Timeline, gather_timeline
from aexp.runs import Run
from aexp.scenario import Scenario
from aexp.settings import Settings

__all__ = ["Experiment", "Laboratory", "void_reason"]

# A worker that ends on its own after a lost acknowledgement is started again, as anything that
# supervises it would do; so often at most.
_MOST_RESTARTS = 3


@dataclass(frozen=True, slots=True)
class Experiment:
    """What happened: the faults that landed, the writes that became durable, the evidence.

    ``stood`` says by the place of a fault whether its checkpoint stood in the database just after;
    None where its write is no checkpoint. ``connections`` is how many the proxy has seen.
    """

    faults: Sequence[Fault]
    landed: Sequence[Landed]
    stood: Sequence[bool | None]
    writes: Sequence[Seen]
    evidence: Evidence
    began_at: float
    seconds: float
    connections: int
    doubted: frozenset[tuple[str, int, int]] = frozenset()
    timeline: Timeline | None = None
    report: Any = None


def void_reason(experiment: Experiment) -> str | None:
    """Why the faults of ``experiment`` did not land as they should have; None when they did."""
    for place, fault in enumerate(experiment.faults):
        if place >= len(experiment.landed):
            return f"{fault.write} was not reached"
        landed, stood = experiment.landed[place], experiment.stood[place]
        if fault.side.kills and landed.code != -signal.SIGKILL:
            return f"the worker was not killed: it ended with {landed.code}"
        if not fault.side.kills and landed.code is not None:
            return f"the worker did not live on: it ended with {landed.code}"
        durable = any(
            seen.write.point == fault.write and seen.life == landed.life
            for seen in experiment.writes
        )
        if durable != (fault.side is not Side.BEFORE):
            return f"{fault.write} {'became' if durable else 'did not become'} durable"
        if stood is not None and stood != durable:
            return f"{fault.write} {'stands' if stood else 'does not stand'} in the database"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Laboratory:
    """Where experiments on one run are made. ``show_logs`` lets the workers' log lines through.

    A worker has ``deadline_s`` to come to the end of the run. One that lives on after a lost
    acknowledgement and writes nothing for ``patience_s`` has stalled.
    """

    databases: Databases
    workers: Workers
    run: Run
    scenario: Scenario[Any]
    settings: Settings
    deadline_s: float
    patience_s: float = math.inf
    show_logs: bool = False

    async def experiment(
        self, faults: Sequence[Fault] = (), *, first_life: int = 0, keep_timeline: bool = False
    ) -> Experiment:
        """Run to the end with ``faults`` on the way; what came of it.

        ``first_life`` chooses the process that forks the first worker, see aexp.crash.workers.
        """
        began_at = time.monotonic()
        watch = Watch(faults)
        async with self._bench(watch) as bench:
            lives = _Lives(self, bench, watch, first_life)
            await lives.live()
            ended_at = time.monotonic()
            evidence, report = await gather_evidence(
                bench.url,
                bench.connection,
                self.run,
                self.scenario,
                lives=lives.records,
                writes=watch.writes,
                bodies=bench.bodies,
                recovery_s=ended_at - watch.landed[-1].at if watch.landed else None,
            )
            timeline = None
            if keep_timeline:
                timeline = await gather_timeline(bench.connection, self.run)
            return Experiment(
                faults=faults,
                landed=watch.landed,
                stood=lives.stood,
                writes=watch.writes,
                evidence=evidence,
                began_at=began_at,
                seconds=time.monotonic() - began_at,
                connections=bench.proxy.connections,
                doubted=_doubted(watch.landed, lives.records),
                timeline=timeline,
                report=report,
            )

    @asynccontextmanager
    async def _bench(self, watch: Watch) -> AsyncIterator[_Bench]:
        with tempfile.TemporaryDirectory(prefix="aexp-crash-") as name:
            folder = Path(name)
            async with (
                self.databases.copy() as url,
                connected(url) as connection,
                open_proxy(url, folder, watch, run_id=self.run.run_id) as proxy,
            ):
                yield _Bench(url, connection, proxy, folder)


@dataclass(frozen=True, slots=True)
class _Bench:
    """One experiment's own: a database, a way round the proxy, the proxy, a folder."""

    url: DatabaseUrl
    connection: Connection
    proxy: Proxy
    folder: Path

    @property
    def bodies(self) -> Path:
        return self.folder / "bodies"


@dataclass(slots=True)
class _Lives:
    """The workers of one experiment, one after the other."""

    laboratory: Laboratory
    bench: _Bench
    watch: Watch
    first_life: int
    records: list[LifeRecord] = field(default_factory=list)
    stood: list[bool | None] = field(default_factory=list)

    async def live(self) -> None:
        """Start a worker, and another when a fault has killed it, until the run has ended."""
        restarts = 0
        while True:
            struck = len(self.watch.landed)
            worker = await self._one_life(len(self.records))
            for landed in self.watch.landed[struck:]:
                self.stood.append(await _stands(self.bench.connection, landed))
            hit = self.watch.landed[struck:]
            killed = self.records[-1].stalled or any(landed.code is not None for landed in hit)
            if worker.code == 0 or self.records[-1].code is None:
                return
            if not killed:
                restarts += 1
                if not self.watch.landed or restarts > _MOST_RESTARTS:
                    return

    async def _one_life(self, life: int) -> Worker:
        laboratory, bench = self.laboratory, self.bench
        log = bench.folder / f"log.{life}"
        order = Order(
            run=laboratory.run,
            settings=laboratory.settings,
            url=bench.proxy.url,
            folder=bench.folder,
            log=None if laboratory.show_logs else log,
        )
        self.watch.expect(life)
        worker = await laboratory.workers.start(order, self.first_life + life)
        self.watch.meet(worker)
        struck = len(self.watch.landed)
        stalled = False
        try:
            with anyio.move_on_after(laboratory.deadline_s) as waiting:
                stalled = await self._stalls(worker)
        finally:
            worker.kill()
            with anyio.CancelScope(shield=True):
                await worker.wait()
        self.records.append(
            LifeRecord(
                pid=worker.pid,
                code=None if waiting.cancelled_caught else worker.code,
                killed=any(landed.code is not None for landed in self.watch.landed[struck:]),
                stalled=stalled,
                log=await _last_lines(log),
            )
        )
        return worker

    async def _stalls(self, worker: Worker) -> bool:
        """Wait for the end of ``worker``; True when it has stalled instead."""
        patience_s = self.laboratory.patience_s
        while True:
            with anyio.move_on_after(min(patience_s, 1.0)):
                await worker.wait()
                return False
            quiet_s = time.monotonic() - self.watch.active_at
            if self.watch.lost_in(self.watch.life) and quiet_s > patience_s:
                return True


def _doubted(
    landed: Sequence[Landed], lives: Sequence[LifeRecord]
) -> frozenset[tuple[str, int, int]]:
    return frozenset(
        (fault.write.workflow_id, fault.write.step_id, lives[fault.life].pid)
        for fault in landed
        if fault.fault.side is Side.LOST_ACK
        and fault.write.workflow_id is not None
        and fault.write.step_id is not None
        and TRANSACTIONS in fault.write.name
    )


async def _last_lines(log: Path) -> Sequence[str]:
    path = anyio.Path(log)
    if not await path.exists():
        return ()
    return (await path.read_text(errors="replace")).splitlines()[-LAST_LINES:]


async def _stands(connection: Connection, landed: Landed) -> bool | None:
    """Whether the checkpoint that the fault struck at is in the database; None when it is none."""
    write = landed.write
    if CHECKPOINTS not in write.name or write.step_id is None:
        return None
    stands: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM dbos.operation_outputs"
        " WHERE workflow_uuid = $1 AND function_id = $2)",
        write.workflow_id,
        write.step_id,
    )
    return stands
