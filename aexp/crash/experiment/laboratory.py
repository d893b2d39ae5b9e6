"""One experiment: a fresh database, a worker behind the proxy, the faults of a point, restarts
until the run has ended, and the evidence that it leaves.
"""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import anyio

from aexp.audit import Report
from aexp.audit.reader import read_ending
from aexp.crash.experiment.faults import Watch
from aexp.crash.experiment.outside import raise_if_outside
from aexp.crash.experiment.private_server import PrivateServer
from aexp.crash.experiment.reader import (
    TRANSACTIONS,
    gather_evidence,
    read_entries,
    read_events,
    read_steps,
)
from aexp.crash.experiment.takeovers import TakeoverSequence
from aexp.crash.experiment.user_databases import UserDatabase, copy_all
from aexp.crash.experiment.worker_sequence import ExperimentSetup, Terms, WorkerSequence
from aexp.crash.http.stub import HttpStub, serve_all
from aexp.crash.judge.evidence import Evidence, Landed, LifeRecord, Outage, StreamEntry
from aexp.crash.judge.points import NO_FAULT, ZOMBIE_SIDES, Fault, Point
from aexp.crash.judge.values import StoredValue
from aexp.crash.proxy.server import open_proxy
from aexp.database.connect import Connection, close, connect, refusals_told
from aexp.database.copies import Copies
from aexp.engine.runtime import application_version
from aexp.engine.tables.workflows import reopen
from aexp.model.run import Run
from aexp.model.scenario import Scenario
from aexp.runs.store import begin_run
from aexp.viewer import Timeline, gather_timeline

__all__ = ["Experiment", "Laboratory", "Replayed", "void_reason"]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What the run came to when its root ran again from its own checkpoints; ``events`` and
    ``entries`` are what it has then published. ``standstill`` is why nothing of it could move any
    more.
    """

    ended: bool
    standstill: str | None
    status: str
    outcome: Any
    events: Mapping[str, StoredValue]
    entries: Sequence[StreamEntry]


@dataclass(frozen=True, slots=True)
class Experiment:
    """What happened: the faults that landed, and the evidence.

    ``stood`` says by the place of a fault whether its checkpoint stood in the database just after;
    None where its write is no checkpoint. ``connections`` is how many the proxy has seen.
    """

    faults: Sequence[Fault]
    landed: Sequence[Landed]
    stood: Sequence[bool | None]
    evidence: Evidence
    seconds: float
    connections: int
    report: Report
    doubted: frozenset[tuple[str, int, int]] = frozenset()
    timeline: Timeline | None = None
    replayed: Replayed | None = None


def void_reason(experiment: Experiment) -> str | None:
    """Say why the faults of ``experiment`` did not land as they should have; None when they did."""
    for place, fault in enumerate(experiment.faults):
        if place >= len(experiment.landed):
            return f"{fault.write} was not reached"
        if fault.side in ZOMBIE_SIDES:
            continue
        landed, stood = experiment.landed[place], experiment.stood[place]
        if fault.side.kills and landed.code != -signal.SIGKILL:
            return f"the worker was not killed: it ended with {landed.code}"
        outage = landed.outage
        if outage is not None and outage.began <= outage.ended:
            return f"PostgreSQL was not stopped: it has been there since {outage.began}"
        durable = any(
            seen.write.point == fault.write and seen.life == landed.life and seen.at <= landed.at
            for seen in experiment.evidence.writes
        )
        if durable != fault.side.arrives:
            return f"{fault.write} {'became' if durable else 'did not become'} durable"
        # What a server that was stopped has lost is no void point: a promise says that it stays.
        lost = durable and outage is not None
        if stood is not None and stood != durable and not lost:
            return f"{fault.write} {'stands' if stood else 'does not stand'} in the database"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Laboratory:
    """Where experiments on one run are made; ``server`` as
    :func:`aexp.crash.proxy.server.find_server`.

    ``databases`` are DBOS's, ``others`` those of the user's that come with it, ``stubs`` stand for
    services, by the variable that has the address of each. With faults that stop the server it is
    ``private``, and one is made at a time.
    """

    databases: Copies
    server: tuple[str, int]
    scenario: Scenario[Any]
    terms: Terms
    private: PrivateServer | None = None
    others: Mapping[UserDatabase, Copies] = field(default_factory=dict)
    stubs: Mapping[str, HttpStub] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def run(self) -> Run:
        """The run, the same in every experiment but for its id."""
        return self.terms.run

    def _own_run(self) -> Run:
        """Return the run of one experiment, with an id that no other one has."""
        run_id = f"{self.run.run_id}-{next(self._numbers)}"
        return replace(self.run, run_id=run_id, application_version=application_version(run_id))

    async def experiment(
        self,
        point: Point = NO_FAULT,
        *,
        upgraded: bool = False,
        first_life: int = 0,
        keep_timeline: bool = False,
        replay: bool = False,
    ) -> Experiment:
        """Run to the end with the faults of ``point`` on the way; what came of it.

        With a zombie's fault two executors work on the run, see aexp.crash.experiment.takeovers.
        A worker that is a wrong one is given up when it writes nothing for ``patience_s``. With
        ``upgraded`` those after the last fault run the later code. ``first_life`` chooses the
        process that forks the first worker, see aexp.crash.experiment.workers. With ``replay`` the
        root runs once more when it has ended, from its own checkpoints. Raises DatabaseError when
        the server refuses or has gone.
        """
        began_at = time.monotonic()
        watch = Watch(point.faults)
        async with self._set_up(watch) as setup:
            watch.stop_server = partial(self._stop_server, setup)
            sequence: WorkerSequence | TakeoverSequence = (
                TakeoverSequence(self.terms, setup, watch, first_life)
                if point.is_zombie
                else WorkerSequence(self.terms, setup, watch, first_life, point, upgraded)
            )
            await sequence.live()
            raise_if_outside(setup.outside)
            evidence, report = await self._gather(setup, watch, sequence)
            timeline = None
            if keep_timeline:
                timeline = await gather_timeline(setup.connection, setup.run)
            seconds = time.monotonic() - began_at
            replayed = None
            if replay and isinstance(sequence, WorkerSequence) and sequence.records[-1].code == 0:
                replayed = setup.relative(await self._replay(setup, sequence))
            return Experiment(
                faults=point.faults,
                landed=watch.landed,
                stood=sequence.stood,
                evidence=setup.relative(evidence),
                seconds=seconds,
                connections=setup.proxy.connections,
                report=report,
                doubted=setup.relative(_doubted(watch.landed, sequence.records)),
                timeline=timeline,
                replayed=replayed,
            )

    async def _gather(
        self, setup: ExperimentSetup, watch: Watch, sequence: WorkerSequence | TakeoverSequence
    ) -> tuple[Evidence, Report]:
        """Gather what the workers, which have ended, left behind."""
        ended_at = time.monotonic()
        return await gather_evidence(
            setup.url,
            setup.connection,
            setup.run,
            self.scenario,
            lives=list(sequence.records),
            writes=list(sequence.writes),
            bodies=setup.bodies,
            recovery_s=ended_at - watch.landed[-1].at if watch.landed else None,
            outages=[landed.outage for landed in watch.landed if landed.outage is not None],
            take_over=sequence.take_over,
            ignored_tables=self.terms.ignored_tables,
            databases=setup.databases,
            requests=setup.requests,
        )

    async def _replay(self, setup: ExperimentSetup, sequence: WorkerSequence) -> Replayed:
        """Run the root again from its own checkpoints, in a process that hashes otherwise."""
        await reopen(setup.connection, setup.run.run_id)
        record = await sequence.one_more()
        ending = await read_ending(
            setup.url,
            setup.connection,
            setup.run,
            serializer=self.scenario.declared.serializer,
        )
        return Replayed(
            ended=record.code == 0,
            standstill=record.standstill,
            status=ending.status,
            outcome=ending.result if ending.status == "SUCCESS" else ending.error,
            events={
                event.key: event.value
                for event in await read_events(setup.connection)
                if event.workflow_id == setup.run.run_id
            },
            entries=[
                entry
                for entry in await read_entries(setup.connection)
                if entry.workflow_id == setup.run.run_id
            ],
        )

    @asynccontextmanager
    async def _set_up(self, watch: Watch) -> AsyncIterator[ExperimentSetup]:
        with tempfile.TemporaryDirectory(prefix="", dir=self.terms.workers.folder) as name:
            folder, run = Path(name), self._own_run()
            async with (
                self.databases.copy() as url,
                copy_all(self.others) as others,
                serve_all(self.stubs, sender=watch.sending) as stubs,
                open_proxy(url, folder, watch, server=self.server, run_id=run.run_id) as proxy,
            ):
                setup = ExperimentSetup(
                    run,
                    url,
                    await connect(url),
                    proxy,
                    folder,
                    databases={database.variable: copy for database, copy in others.items()},
                    stubs=stubs,
                    variables={
                        **{each.variable: each.written_for(copy) for each, copy in others.items()},
                        **{name: stub.url for name, stub in stubs.items()},
                    },
                )
                try:
                    with refusals_told(url):
                        await begin_run(setup.connection, run)
                        yield setup
                finally:
                    await close(setup.connection)

    async def _stop_server(self, setup: ExperimentSetup) -> Outage:
        """Stop the server at once, start it again, and look at what is left."""
        assert self.private is not None
        ended, at = await _start_time(setup.connection), time.monotonic()
        # Whole, whoever wants to end: what is dropped afterwards needs the server.
        with anyio.CancelScope(shield=True):
            await self.private.stop()
            await self.private.start()
            await setup.reconnect()
            await self.databases.reconnect()
        steps = await read_steps(setup.connection)
        return Outage(
            at=at,
            ended=ended,
            began=await _start_time(setup.connection),
            standing=frozenset((step.workflow_id, step.step_id) for step in steps),
        )


async def _start_time(connection: Connection) -> datetime:
    """Return when the server began, by its own account."""
    told: datetime = await connection.fetchval("SELECT pg_postmaster_start_time()")
    return told


def _doubted(
    landed: Sequence[Landed], lives: Sequence[LifeRecord]
) -> frozenset[tuple[str, int, int]]:
    return frozenset(
        (write.workflow_id, write.step_id, lives[fault.life].pid)
        for fault in landed
        for write in fault.doubted
        if write.workflow_id is not None
        and write.step_id is not None
        and TRANSACTIONS in write.name
    )
