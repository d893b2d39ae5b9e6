"""SIGINT and SIGTERM: the first asks to stop, a second one ends what is done at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NoReturn

import anyio
import structlog

__all__ = ["Stop", "stop_on_signals", "until_stopped", "unwind_on_signals"]

_MOST_LOGGED = 2
log = structlog.stdlib.get_logger("aexp.processes.signals")


@dataclass(frozen=True, slots=True)
class Stop:
    """Whether somebody has asked this process to stop."""

    event: anyio.Event = field(default_factory=anyio.Event)

    def asked(self) -> bool:
        """Return whether it was asked."""
        return self.event.is_set()

    def ask(self) -> None:
        """Ask this process to stop."""
        self.event.set()


@asynccontextmanager
async def stop_on_signals(at_once: Callable[[], None]) -> AsyncIterator[Stop]:
    """Turn signals into a Stop while the context lives; a second signal calls ``at_once``."""
    stop = Stop()
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:

        async def watch() -> None:
            heard = 0
            async for number in signals:
                heard += 1
                if stop.asked():
                    at_once()
                # Nobody may read what is logged, while somebody sends signals for ever.
                if heard <= _MOST_LOGGED:
                    log.warning("run.interrupted", signal=number.name)
                stop.ask()

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            yield stop
            group.cancel_scope.cancel()


@asynccontextmanager
async def unwind_on_signals(
    end: Callable[[], NoReturn], give_up: Callable[[], None], limit_s: float
) -> AsyncIterator[Stop]:
    """Turn signals into a Stop while the context lives; a second one cuts short what is done there.

    What was opened is closed then: databases are dropped, processes end. Further signals change
    nothing, since somebody impatient sends several. ``end`` is called when all is closed: it ends
    this process, or raises. When that takes longer than ``limit_s``, ``give_up`` is called in a
    thread.
    """
    last_resort = threading.Timer(limit_s, give_up)
    last_resort.daemon = True
    cut = anyio.CancelScope()

    def unwind() -> None:
        if not cut.cancel_called:
            last_resort.start()
            cut.cancel()

    async with stop_on_signals(unwind) as stop:
        with cut:
            yield stop
        if cut.cancel_called:
            # Before signals are heard as usual: one more would end this process in its own way.
            try:
                end()
            finally:
                last_resort.cancel()


@asynccontextmanager
async def until_stopped(stop: Stop, grace_s: float = 0.0) -> AsyncIterator[anyio.CancelScope]:
    """Cut short what is done in the context ``grace_s`` after ``stop`` is asked for, or after it
    began if that was before; the scope tells.
    """
    with anyio.CancelScope() as cut:
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                await stop.event.wait()
                await anyio.sleep(grace_s)
                cut.cancel()

            group.start_soon(watch)
            yield cut
            group.cancel_scope.cancel()
