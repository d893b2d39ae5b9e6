"""Runs in child processes that are killed at seeded moments and started again.

A child is ``python -m aexp`` like any other; on its stdout it tells, a JSON object a line, how far
it has come. The kill is a SIGKILL from outside, at whatever instruction the child then is.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import anyio.abc
import structlog
from anyio.streams.buffered import BufferedByteReceiveStream

from aexp.database import DatabaseUrl
from aexp.database.connect import connected
from aexp.errors import WorkerFailed
from aexp.progress import Progress, Snapshot
from aexp.runs import Run, record_end
from aexp.settings import Settings, user_environment

__all__ = ["KillPlan", "Supervision", "report_progress", "supervise"]

log = structlog.stdlib.get_logger("aexp.supervisor")

# The longest wait between the step body that a kill aims at and the kill itself: about as long as
# a step takes, so that kills fall before its effect, after it, and after its checkpoint.
LONGEST_DELAY_S = 0.12
_LINE_LIMIT = 16 * 1024 * 1024
_LEAST_INTERVAL_S = 0.005


@dataclass(slots=True)
class KillPlan:
    """When to kill: after which step body, and how long after it. The same for the same seed."""

    kills: int
    seed: int
    steps: int
    landed: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - chooses moments, guards nothing

    def next_moment(self, done: float = 0.0) -> tuple[int, float] | None:
        """(step bodies that the next process begins before its kill, seconds after the last).

        ``done`` is the share of the work that is done already, 0 to 1.
        """
        left = self.kills - self.landed
        if left <= 0:
            return None
        # Spread over what is left; half a share is kept back, so that the run does not end first.
        reach = max(1, int(self.steps * (1 - done) / (left + 0.5)))
        return self._random.randint(1, reach), self._random.uniform(0, LONGEST_DELAY_S)


@dataclass(frozen=True, slots=True)
class Supervision:
    """What a supervised run came to: kills that landed, and how the last child ended."""

    landed: int
    restarts: int
    interrupted: bool


# Told the number of restarts so far and the child's state.
Watcher = Callable[[int, Snapshot], None]


async def supervise(
    run: Run,
    settings: Settings,
    url: DatabaseUrl,
    plan: KillPlan,
    on_progress: Watcher,
) -> Supervision:
    """Work on ``run`` in child processes, each killed at the plan's next moment but the last.

    ``on_progress`` is called with the number of restarts so far and the child's state. Raises
    WorkerFailed when a child ends on its own with an error.
    """
    restarts = 0
    while True:
        child = await _Child.start(run, settings, url)
        try:
            ended = await child.follow(plan, partial(on_progress, restarts))
        finally:
            await child.end()
        if not child.was_killed:
            if child.returncode == 130:
                return Supervision(plan.landed, restarts, interrupted=True)
            if child.returncode != 0:
                raise WorkerFailed(child.pid, ended, child.last_words())
            return Supervision(plan.landed, restarts, interrupted=False)
        async with connected(url) as connection:
            await record_end(connection, run.run_id, child.pid, ended, child.memory)
        log.warning("supervisor.process_killed", killed_pid=child.pid, landed=plan.landed)
        restarts += 1


class _Child:
    """One worker process."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self._process = process
        self._stderr: deque[str] = deque(maxlen=20)
        self.pid = process.pid
        self.memory: Mapping[str, Any] | None = None
        self.was_killed = False
        self._aimed = False

    @classmethod
    async def start(cls, run: Run, settings: Settings, url: DatabaseUrl) -> _Child:
        command = [sys.executable, "-m", "aexp", "work", run.run_id, *_flags(settings)]
        process = await anyio.open_process(
            command,
            stdin=subprocess.DEVNULL,
            # A signal from the terminal goes to the whole group: ours decides what it means.
            start_new_session=True,
            env=user_environment({"DBOS_SYSTEM_DATABASE_URL": "", "AEXP_DATABASE_URL": url.libpq}),
        )
        return cls(process)

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    def last_words(self) -> str:
        """The last line that the child wrote on stderr, without the name of the command."""
        words = next((line for line in reversed(self._stderr) if line.strip()), "it said nothing")
        return words.removeprefix("aexp: error: ")

    async def follow(self, plan: KillPlan, on_progress: Callable[[Snapshot], None]) -> str:
        """See the child to its end, by the plan's next moment or its own; how it ended."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._relay_stderr)
            group.start_soon(self._forward_signals)
            await self._read(plan, on_progress, group)
            await self._process.wait()
            group.cancel_scope.cancel()
        code = self._process.returncode
        assert code is not None
        if self._aimed and code == -signal.SIGKILL:
            self.was_killed = True
            plan.landed += 1
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exited with {code}"

    async def _read(
        self, plan: KillPlan, on_progress: Callable[[Snapshot], None], group: anyio.abc.TaskGroup
    ) -> None:
        moment: tuple[int, float] | None = None
        aimed = False
        assert self._process.stdout is not None
        lines = BufferedByteReceiveStream(self._process.stdout)
        while True:
            try:
                line = await lines.receive_until(b"\n", _LINE_LIMIT)
            except (anyio.EndOfStream, anyio.IncompleteRead):
                return
            told = json.loads(line)
            state = Snapshot(told["done"], told["total"], told["steps"], told["memory"])
            self.memory = state.memory
            on_progress(state)
            if moment is None and not aimed:
                moment = plan.next_moment(state.done / state.total if state.total else 0.0)
            if moment is not None and not aimed and state.steps >= moment[0]:
                aimed = True
                group.start_soon(self._kill, moment[1])

    async def _kill(self, delay_s: float) -> None:
        await anyio.sleep(delay_s)
        if self._process.returncode is None:
            self._aimed = True
            self._process.kill()

    async def _relay_stderr(self) -> None:
        assert self._process.stderr is not None
        lines = BufferedByteReceiveStream(self._process.stderr)
        while True:
            try:
                line = (await lines.receive_until(b"\n", _LINE_LIMIT)).decode(errors="replace")
            except (anyio.EndOfStream, anyio.IncompleteRead):
                return
            self._stderr.append(line)
            if line.startswith("{") or not line.startswith("aexp: "):
                print(line, file=sys.stderr)  # noqa: T201 - the child's log lines, as they are

    async def _forward_signals(self) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for number in signals:
                if self._process.returncode is None:
                    self._process.send_signal(number)

    async def end(self) -> None:
        """Kill the child if it still runs, and wait for it: no process is left behind."""
        with anyio.CancelScope(shield=True):
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()
            await self._process.aclose()


def _flags(settings: Settings) -> Sequence[str]:
    flags = [
        f"--executor-id={settings.executor_id}",
        f"--log-format={settings.log_format}",
        f"--log-level={settings.log_level}",
        f"--loop={settings.loop}",
    ]
    if settings.log_format == "auto":
        # Its stderr is a pipe; what it writes ends where ours goes.
        flags[1] = f"--log-format={'console' if sys.stderr.isatty() else 'json'}"
    if settings.debug:
        flags.append("--debug")
    return flags


async def report_progress(progress: Progress) -> None:
    """Tell the supervisor on stdout how far ``progress`` has come, until cancelled.

    A line for each change that it can keep up with, flushed at once: the process may be killed in
    the next instant.
    """
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()

    def notify() -> None:
        loop.call_soon_threadsafe(changed.set)

    progress.observe(notify)
    while True:
        await changed.wait()
        changed.clear()
        state = progress.snapshot()
        line = {
            "done": state.done,
            "total": state.total,
            "steps": state.steps,
            "memory": state.memory,
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        await anyio.sleep(_LEAST_INTERVAL_S)
