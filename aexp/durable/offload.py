"""Work for the processor, kept off the event loop: in worker processes, in threads, or not."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar, TypeVarTuple, Unpack

import anyio
import anyio.to_process
import anyio.to_thread

__all__ = ["Computed", "OffloadMode", "Pool", "WorkerLost", "available_cores", "open_pool"]

_R = TypeVar("_R")
_Arguments = TypeVarTuple("_Arguments")

# The loop comes first where both want a core, or the workers' work would show as its lag.
_NICENESS = 5
_PARENT_POLL_S = 0.5
MOST_WORKERS_LOST = 3


class WorkerLost(Exception):
    """Worker processes end in the midst of a call, again and again."""

    def __init__(self, times: int) -> None:
        self.times = times
        super().__init__(
            f"{times} worker processes ended in the midst of a call: is there memory enough?"
        )


class OffloadMode(StrEnum):
    """Where work runs."""

    NONE = "none"
    THREAD = "thread"
    PROCESS = "process"


# No slots: subscripting a frozen generic with slots fails on CPython 3.11 and 3.12.
@dataclass(frozen=True)
class Computed(Generic[_R]):
    """What a call returned, the processor time that it took, and the process that it ran in."""

    value: _R
    cpu_s: float
    pid: int


def available_cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Pool:
    """Runs calls, at most ``workers`` at a time."""

    mode: OffloadMode
    workers: int
    limiter: anyio.CapacityLimiter

    async def run(
        self, function: Callable[[Unpack[_Arguments]], _R], *arguments: *_Arguments
    ) -> Computed[_R]:
        """Run ``function(*arguments)``, wherever this pool runs it.

        For worker processes both have to be importable and picklable. Cancelled, a call in a
        process is killed, a call in a thread runs on unheard, a call on the loop cannot be.
        A worker process that somebody ends is replaced, and the call made again, so it must have
        no effect; raises WorkerLost at the third time.
        """
        if self.mode is OffloadMode.PROCESS:
            for _ in range(MOST_WORKERS_LOST):
                with suppress(anyio.BrokenWorkerProcess):
                    return await anyio.to_process.run_sync(
                        _in_worker, function, *arguments, cancellable=True, limiter=self.limiter
                    )
            raise WorkerLost(MOST_WORKERS_LOST)
        if self.mode is OffloadMode.THREAD:
            return await anyio.to_thread.run_sync(
                _timed, function, *arguments, abandon_on_cancel=True, limiter=self.limiter
            )
        return _timed(function, *arguments)


@asynccontextmanager
async def open_pool(mode: OffloadMode, workers: int) -> AsyncIterator[Pool]:
    """Open a pool of ``workers`` for the life of the context; processes are started at once.

    anyio ends them with the event loop.
    """
    pool = Pool(mode, workers, anyio.CapacityLimiter(workers))
    if mode is not OffloadMode.PROCESS:
        yield pool
        return
    # anyio starts its workers in the working folder, whose modules must not take the place of the
    # standard library's.
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        # All at once, so that each gets a process of its own.
        async with anyio.create_task_group() as group:
            for _ in range(workers):
                group.start_soon(pool.run, os.getpid)
        yield pool
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


def _timed(function: Callable[[Unpack[_Arguments]], _R], *arguments: *_Arguments) -> Computed[_R]:
    began = time.thread_time()
    value = function(*arguments)
    return Computed(value, time.thread_time() - began, os.getpid())


def _in_worker(
    function: Callable[[Unpack[_Arguments]], _R], *arguments: *_Arguments
) -> Computed[_R]:
    _settle()
    return _timed(function, *arguments)


_settled = False


def _settle() -> None:
    """Make this process a worker that leaves signals to its parent, and ends with it."""
    global _settled  # noqa: PLW0603 - once a process
    if _settled:
        return
    _settled = True
    # The terminal sends it to the whole group; what it means is for the parent to decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICENESS)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    # An idle worker reads the end of its stdin; one that computes would go on for hours.
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_S)
    os._exit(1)
