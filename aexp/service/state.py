"""What the requests of one service share, and how a route asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import anyio
from fastapi import Depends, Path, Request

from aexp.database.connect import borrowed
from aexp.model.run import Run
from aexp.model.run_ids import RUN_ID_PATTERN
from aexp.model.scenario import Scenario
from aexp.processes.signals import Stop
from aexp.runs.host import Host
from aexp.runs.store import get_run
from aexp.service.lag import LoopLag
from aexp.service.metrics import Metrics
from aexp.service.options import ServiceOptions
from aexp.service.problems import RETRY_AFTER_S, TOO_BUSY, RequestRefused
from aexp.service.readiness import DatabaseCheck

__all__ = ["Current", "KnownRun", "RunId", "Service", "Waiting", "race"]

# Requests that stay open: those who wait for a run's end, and those who follow its events.
MOST_WAITING = 100
# Evidence is read at a time for so many.
MOST_AUDITS = 2


@dataclass(slots=True)
class Service:
    """A running service. ``host`` is there while its lifespan lasts."""

    options: ServiceOptions
    scenarios: Mapping[str, Scenario[Any]]
    stop: Stop = field(default_factory=Stop)
    lag: LoopLag = field(default_factory=LoopLag)
    metrics: Metrics = field(default_factory=Metrics)
    database: DatabaseCheck = field(init=False)
    audits: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(MOST_AUDITS))
    waiting: int = 0
    opened: Host | None = None
    # Why the lifespan did not begin or did not end.
    failure: BaseException | None = None

    def __post_init__(self) -> None:
        self.database = DatabaseCheck(self.options.url)

    @property
    def host(self) -> Host:
        """The host of its runs."""
        assert self.opened is not None
        return self.opened

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take a place among the requests that stay open; raises RequestRefused without one."""
        if self.waiting >= MOST_WAITING:
            raise RequestRefused(
                TOO_BUSY,
                f"{MOST_WAITING} requests are waiting for runs already",
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    async def run(self, run_id: str) -> Run:
        """Return the run of this id; raises UnknownRun."""
        async with borrowed(self.host.pool) as connection:
            return await get_run(connection, run_id)


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Current = Annotated[Service, Depends(_service)]
RunId = Annotated[
    str,
    Path(
        pattern=RUN_ID_PATTERN,
        description="id of a run",
        examples=["resume-0a1b2c3d"],
    ),
]


async def _known_run(run_id: RunId, service: Current) -> Run:
    return await service.run(run_id)


KnownRun = Annotated[Run, Depends(_known_run)]


async def _place(service: Current) -> AsyncIterator[None]:
    with service.place():
        yield


# A place among the requests that stay open, for the life of the request.
Waiting = Depends(_place)


async def race(*waits: Callable[[], Awaitable[Any]], within_s: float) -> None:
    """Return when the first of ``waits`` does, or after ``within_s``."""
    async with anyio.create_task_group() as group:

        async def first(wait: Callable[[], Awaitable[Any]]) -> None:
            await wait()
            group.cancel_scope.cancel()

        group.cancel_scope.deadline = anyio.current_time() + within_s
        for wait in waits:
            group.start_soon(first, wait)
