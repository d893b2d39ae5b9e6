"""Processes that work on runs: who forks them, and what becomes of them when that one ends."""

from __future__ import annotations

import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import psutil
import pytest

from aexp.database import DatabaseUrl
from aexp.errors import WorkerFailed
from aexp.processes.signals import Stop
from aexp.runs.kill_plan import KillPlan
from aexp.runs.run_processes import RunProcess, RunProcesses, open_run_processes

pytestmark = pytest.mark.asyncio


@pytest.fixture
def silent() -> Iterator[DatabaseUrl]:
    """A server that answers nothing: who works on a run of it waits."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield DatabaseUrl.parse(f"postgresql://nobody@127.0.0.1:{server.getsockname()[1]}/none")


@asynccontextmanager
async def working(processes: RunProcesses, restarts: int) -> AsyncIterator[RunProcess]:
    process = await processes.start(["work", "r"], restarts)
    try:
        yield process
    finally:
        await process.end()


async def follow(process: RunProcess) -> int:
    return await process.follow(KillPlan(0, 0, None), lambda _: None, Stop())


async def test_a_process_is_forked_by_another_than_the_one_before_fails_and_stops(
    silent: DatabaseUrl,
) -> None:
    parents = []
    async with open_run_processes(silent) as processes:
        for restarts in range(3):
            async with working(processes, restarts) as process:
                parents.append(psutil.Process(process.pid).ppid())
        first, second, third = parents
        assert first == third != second

        process = await processes.start(["frobnicate"], 0)
        try:
            assert await follow(process) == 2
        finally:
            await process.end()
        assert process.last_words().startswith("No such command 'frobnicate'")

        # Before it has done anything.
        stop = Stop()
        stop.ask()
        async with working(processes, 0) as process:
            code = await process.follow(KillPlan(0, 0, None), lambda _: None, stop)
            assert code in (-signal.SIGTERM, 130)


async def test_a_process_whose_parent_is_killed_has_failed_and_the_next_gets_another(
    silent: DatabaseUrl,
) -> None:
    async with open_run_processes(silent) as processes:
        async with working(processes, 0) as process:
            parent = psutil.Process(process.pid).parent()
            assert parent is not None
            parent.kill()
            with pytest.raises(WorkerFailed, match=r"was killed by signal 9: .* ended on its own"):
                await follow(process)
        async with working(processes, 2) as process:
            assert psutil.Process(process.pid).ppid() != parent.pid
            assert process.was_killed is False
