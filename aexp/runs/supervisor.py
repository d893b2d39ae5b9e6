"""Runs in child processes that are killed at seeded moments and started again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from aexp.database import DatabaseUrl
from aexp.database.connect import connected
from aexp.errors import WorkerFailed
from aexp.model.run import Run
from aexp.processes.progress import Snapshot
from aexp.processes.signals import Stop
from aexp.runs.kill_plan import KillPlan
from aexp.runs.run_processes import RunProcess, RunProcesses
from aexp.runs.store import record_end
from aexp.settings import Settings

__all__ = ["Supervision", "Supervisor"]

log = structlog.stdlib.get_logger("aexp.runs.supervisor")


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
        processes: RunProcesses,
        plan: KillPlan,
        on_progress: Watcher,
        *,
        hosted: bool = False,
    ) -> None:
        self._run = run
        self._settings = settings
        self._url = url
        self._processes = processes
        self._plan = plan
        self._on_progress = on_progress
        self._hosted = hosted
        self._child: RunProcess | None = None

    async def supervise(self, stop: Stop) -> Supervision:
        """See the run to its end, or until ``stop`` is asked for: then the child drains.

        Raises WorkerFailed when a child ends on its own with an error.
        """
        restarts = 0
        while not stop.asked():
            child = self._child = await self._processes.start(self._arguments(), restarts)
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

    def _arguments(self) -> Sequence[str]:
        hosted = ["--hosted"] if self._hosted else []
        strike = self._plan.next_strike()
        strikes = [f"--strike={strike}"] if strike is not None else []
        return ["work", self._run.run_id, *hosted, *strikes, *_flags(self._settings)]

    async def _record_kill(self, child: RunProcess) -> bool:
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
