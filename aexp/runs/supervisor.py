"""Runs in child processes that are killed at seeded moments and started again.

A child is ``python -m aexp`` like any other; on its stdout it tells, a JSON object a line, how far
it has come. The kill is a SIGKILL from outside, at whatever instruction the child then is. Where
nobody knows how many steps there are, the child is told at which of them it is to kill itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
import anyio.abc
import structlog
from anyio.streams.buffered import BufferedByteReceiveStream

from aexp.database import DatabaseUrl
from aexp.database.connect import connected
from aexp.environment import URL_VARIABLES
from aexp.errors import WorkerFailed
from aexp.model.run import Run
from aexp.processes.progress import Snapshot
from aexp.processes.signals import Stop
from aexp.runs.kill_plan import KillMoment, KillPlan
from aexp.runs.store import record_end
from aexp.settings import Settings, user_environment

__all__ = ["Supervision", "Supervisor"]

log = structlog.stdlib.get_logger("aexp.runs.supervisor")

_LINE_LIMIT = 16 * 1024 * 1024
_LAST_WORDS_S = 2.0


@dataclass(frozen=True, slots=True)
class Supervision:
    """What a supervised run came to."""

    landed: int
    restarts: int
    interrupted: bool


# Told the number of restarts so far and the child's state.
Watcher = Callable[[int, Snapshot], None]


class Supervisor:
    """Works on a run in child processes, each killed at the plan's next moment but the last."""

    def __init__(
        self,
        run: Run,
        settings: Settings,
        url: DatabaseUrl,
        plan: KillPlan,
        on_progress: Watcher,
        *,
        hosted: bool = False,
    ) -> None:
        self._run = run
        self._settings = settings
        self._url = url
        self._plan = plan
        self._on_progress = on_progress
        self._hosted = hosted
        self._child: _Child | None = None

    async def supervise(self, stop: Stop) -> Supervision:
        """See the run to its end, or until ``stop`` is asked for: then the child drains.

        Raises WorkerFailed when a child ends on its own with an error.
        """
        restarts = 0
        while not stop.asked():
            child = self._child = await _Child.start(self._command(), self._url)
            try:
                code = await child.follow(self._plan, partial(self._on_progress, restarts), stop)
            finally:
                await child.end()
            if code == 0:
                return Supervision(self._plan.landed, restarts, interrupted=False)
            if stop.asked():
                break
            if not child.was_killed:
                raise WorkerFailed(child.pid, code, child.last_words())
            if not await self._record_kill(child):
                # It had recorded its own end already: the kill found nothing to interrupt.
                return Supervision(self._plan.landed, restarts, interrupted=False)
            self._plan.landed += 1
            restarts += 1
            log.warning("supervisor.process_killed", killed_pid=child.pid, landed=restarts)
        return Supervision(self._plan.landed, restarts, interrupted=True)

    def _command(self) -> Sequence[str]:
        # Safe path: the working folder is the user's, and what lies there must not take the place
        # of the standard library.
        command = [sys.executable, "-P", "-m", "aexp", "work", self._run.run_id]
        if self._hosted:
            command.append("--hosted")
        strike = self._plan.next_strike()
        if strike is not None:
            command.append(f"--strike={strike}")
        return [*command, *_flags(self._settings)]

    async def _record_kill(self, child: _Child) -> bool:
        async with connected(self._url) as connection:
            return await record_end(
                connection,
                self._run.run_id,
                self._settings.executor_id,
                child.pid,
                "killed by SIGKILL",
                child.memory,
            )

    def kill(self) -> None:
        """Kill the child of this moment, if there is one: this process is about to end."""
        if self._child is not None:
            self._child.kill()


class _Child:
    """One worker process."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self._process = process
        self._stderr: deque[str] = deque(maxlen=20)
        self.pid = process.pid
        self.memory: Mapping[str, Any] | None = None
        self.was_killed = False
        self._aimed = False
        self._waiting = False

    @classmethod
    async def start(cls, command: Sequence[str], url: DatabaseUrl) -> _Child:
        process = await anyio.open_process(
            command,
            # Held open for as long as we live: at its end the child knows that it is alone.
            stdin=subprocess.PIPE,
            # A signal from the terminal goes to the whole group: ours decides what it means.
            start_new_session=True,
            env=user_environment(dict.fromkeys(URL_VARIABLES, url.libpq)),
        )
        return cls(process)

    def last_words(self) -> str:
        """Return the last line that the child wrote on stderr, without the name of the command."""
        words = next((line for line in reversed(self._stderr) if line.strip()), "it said nothing")
        return words.removeprefix("aexp: error: ")

    async def follow(
        self, plan: KillPlan, on_progress: Callable[[Snapshot], None], stop: Stop
    ) -> int:
        """See the child to its end, by the plan's next moment or its own; its exit code."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._pass_on, stop)
            async with anyio.create_task_group() as reading:
                reading.start_soon(self._relay_stderr)
                reading.start_soon(self._read, plan, on_progress, group)
                code = await self._process.wait()
                # Its last words are still in the pipes; a process that it left behind may hold
                # them open for ever.
                reading.cancel_scope.deadline = anyio.current_time() + _LAST_WORDS_S
            group.cancel_scope.cancel()
        self.was_killed = self._aimed and code == -signal.SIGKILL
        return code

    async def _read(
        self, plan: KillPlan, on_progress: Callable[[Snapshot], None], group: anyio.abc.TaskGroup
    ) -> None:
        moment: KillMoment | None = None
        assert self._process.stdout is not None
        lines = BufferedByteReceiveStream(self._process.stdout)
        while True:
            try:
                line = await lines.receive_until(b"\n", _LINE_LIMIT)
            except (anyio.EndOfStream, anyio.IncompleteRead):
                return
            told = json.loads(line)
            if "kills_itself" in told:
                self._aimed = True
                continue
            state = Snapshot(told["done"], told["total"], told["steps"], told["memory"])
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
        if self._process.returncode is None:
            self._aimed = True
            self.kill()

    async def _relay_stderr(self) -> None:
        assert self._process.stderr is not None
        lines = BufferedByteReceiveStream(self._process.stderr)
        while True:
            try:
                line = (await lines.receive_until(b"\n", _LINE_LIMIT)).decode(errors="replace")
            except (anyio.EndOfStream, anyio.IncompleteRead):
                return
            self._stderr.append(line)
            if not line.startswith("aexp: "):
                print(line, file=sys.stderr)  # noqa: T201 - the child's log lines, as they are

    async def _pass_on(self, stop: Stop) -> None:
        await stop.event.wait()
        if self._process.returncode is None:
            self._process.terminate()

    def kill(self) -> None:
        """Kill the child, whatever it does, and the processes that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Kill what is left of the child, and wait for it: no process is left behind."""
        with anyio.CancelScope(shield=True):
            self.kill()
            await self._process.wait()
            await self._process.aclose()


def _flags(settings: Settings) -> Sequence[str]:
    flags = [
        f"--executor-id={settings.executor_id}",
        f"--home={settings.home}",
        f"--log-format={settings.log_format}",
        f"--log-level={settings.log_level}",
        f"--loop={settings.loop}",
    ]
    if settings.log_format == "auto":
        # Its stderr is a pipe; what it writes ends where ours goes.
        flags[2] = f"--log-format={'console' if sys.stderr.isatty() else 'json'}"
    if settings.debug:
        flags.append("--debug")
    return flags
