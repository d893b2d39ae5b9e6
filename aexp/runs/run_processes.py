"""Processes that work on runs: forked from one that has imported all that they need.

On its stdout such a process tells, a JSON object a line, how far it has come. The kill is a SIGKILL
from outside, at whatever instruction it then is. Where nobody knows how many steps there are, it is
told at which of them it is to kill itself.

The processes that fork are two, which differ in the order in which their sets iterate, unless
``PYTHONHASHSEED`` says it for both: a process that follows a killed one finds strings hashed
otherwise, as one that is started by itself would. Each is started when it is first needed.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import structlog

from aexp.database import DatabaseUrl
from aexp.environment import URL_VARIABLES
from aexp.errors import WorkerFailed
from aexp.processes.child import Child, ForkServer, ForkServerFailed, open_forkserver
from aexp.processes.pipes import read_parts
from aexp.processes.progress import Snapshot
from aexp.processes.signals import Stop
from aexp.runs.kill_plan import KillMoment, KillPlan

__all__ = ["RunProcess", "RunProcesses", "open_run_processes"]

_SERVERS = 2
_LAST_WORDS_S = 2.0

log = structlog.stdlib.get_logger("aexp.runs.supervisor")


class RunProcesses:
    """Starts processes that work on runs. Made by :func:`open_run_processes`."""

    def __init__(
        self, url: DatabaseUrl, group: anyio.abc.TaskGroup, environment: Mapping[str, str]
    ) -> None:
        self._environment = {**environment, **dict.fromkeys(URL_VARIABLES, url.libpq)}
        self._group = group
        self._servers: dict[int, ForkServer] = {}
        self._opening = [anyio.Lock() for _ in range(_SERVERS)]

    async def start(self, arguments: Sequence[str], restarts: int) -> RunProcess:
        """Start ``aexp ARGUMENTS``, after so many ``restarts`` of the run's supervisor.

        Raises WorkerFailed when the process that forks it ends on its own.
        """
        # Nobody else would end it.
        with anyio.CancelScope(shield=True):
            server = await self._ready(restarts % _SERVERS)
            try:
                child = await server.start(
                    "aexp.cli.forked:be_command", {"arguments": list(arguments)}, drains=True
                )
            except ForkServerFailed as error:
                code = await server.process.wait()
                raise WorkerFailed(server.process.pid, code, str(error)) from error
        return RunProcess(child)

    async def warm_up(self) -> None:
        """Start the process that forks the first one of each run, which takes a moment."""
        try:
            await self._ready(0)
        except OSError as error:
            # Whoever needs it will be told.
            log.warning("supervisor.forkserver_failed", error=str(error))

    async def _ready(self, number: int) -> ForkServer:
        async with self._opening[number]:
            if number not in self._servers:
                await self._group.start(self._keep, number)
            return self._servers[number]

    async def _keep(self, number: int, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Keep a process that forks, until it ends on its own: the next run gets another."""
        async with open_forkserver("aexp.cli.forked:warm", environment=self._environment) as server:
            self._servers[number] = server
            task_status.started()
            code = await server.process.wait()
            del self._servers[number]
        log.warning("supervisor.forkserver_ended", ended_pid=server.process.pid, code=code)


@asynccontextmanager
async def open_run_processes(
    url: DatabaseUrl, *, environment: Mapping[str, str] | None = None
) -> AsyncIterator[RunProcesses]:
    """Start processes of runs in the database at ``url``, for the life of the context.

    They have our environment, with ``environment`` added. Those that live at its end are killed.
    """
    async with anyio.create_task_group() as group:
        yield RunProcesses(url, group, environment or {})
        group.cancel_scope.cancel()


class RunProcess:
    """One process that works on a run."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._stderr: deque[str] = deque(maxlen=20)
        self.pid = child.pid
        self.memory: Mapping[str, Any] | None = None
        self.was_killed = False
        self._aimed = False
        self._waiting = False

    def last_words(self) -> str:
        """Return the last line that it wrote on stderr, without the name of the command."""
        words = next((line for line in reversed(self._stderr) if line.strip()), "it said nothing")
        return words.removeprefix("aexp: error: ")

    async def follow(
        self, plan: KillPlan, on_progress: Callable[[Snapshot], None], stop: Stop
    ) -> int:
        """See it to its end, by the plan's next moment or its own; its exit code.

        Raises WorkerFailed when the process that forked it has ended, and it with that.
        """
        async with anyio.create_task_group() as group:
            group.start_soon(self._pass_on, stop)
            async with anyio.create_task_group() as reading:
                reading.start_soon(self._relay_stderr)
                reading.start_soon(self._read, plan, on_progress, group)
                await self._child.ended.wait()
                # Its last words are still in the pipes; a process that it left behind may hold
                # them open for ever.
                reading.cancel_scope.deadline = anyio.current_time() + _LAST_WORDS_S
            group.cancel_scope.cancel()
        try:
            code = await self._child.wait()
        except ForkServerFailed as error:
            raise WorkerFailed(self.pid, -signal.SIGKILL, str(error)) from error
        self.was_killed = self._aimed and code == -signal.SIGKILL
        return code

    async def _read(
        self, plan: KillPlan, on_progress: Callable[[Snapshot], None], group: anyio.abc.TaskGroup
    ) -> None:
        moment: KillMoment | None = None
        async for line in _lines(self._child.stdout):
            found = json.loads(line)
            if "kills_itself" in found:
                self._aimed = True
                continue
            state = Snapshot(found["done"], found["total"], found["steps"], found["memory"])
            self.memory = state.memory
            on_progress(state)
            if moment is None:
                moment = plan.next_moment(state.done / state.total if state.total else 0.0)
            if moment is None:
                continue
            if state.steps >= moment.steps + moment.further:
                self._kill()
            elif state.steps >= moment.steps and not self._waiting:
                self._waiting = True
                group.start_soon(self._kill_after, moment.delay_s)

    async def _kill_after(self, delay_s: float) -> None:
        await anyio.sleep(delay_s)
        self._kill()

    def _kill(self) -> None:
        if self._child.code is None:
            self._aimed = True
            self.kill()

    async def _relay_stderr(self) -> None:
        async for part in _lines(self._child.stderr):
            line = part.decode(errors="replace")
            self._stderr.append(line)
            if not line.startswith("aexp: "):
                print(line, file=sys.stderr)  # noqa: T201 - its log lines, as they are

    async def _pass_on(self, stop: Stop) -> None:
        await stop.event.wait()
        self._child.terminate()

    def kill(self) -> None:
        """Kill it, whatever it does, and the processes that it has started."""
        self._child.kill()

    async def end(self) -> None:
        """Kill what is left of it, and wait for it: no process is left behind."""
        with anyio.CancelScope(shield=True):
            self.kill()
            await self._child.ended.wait()
            self._child.close()


async def _lines(descriptor: int | None) -> AsyncIterator[bytes]:
    """Yield the whole lines that are written to the other end."""
    assert descriptor is not None
    pending = bytearray()
    async for part in read_parts(descriptor):
        pending += part
        if b"\n" in part:
            *lines, rest = bytes(pending).split(b"\n")
            pending = bytearray(rest)
            for line in lines:
                yield line
