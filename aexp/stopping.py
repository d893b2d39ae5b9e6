"""SIGINT and SIGTERM: the first asks to stop, a second one ends the process at once."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import structlog

__all__ = ["Stop", "stop_on_signals", "until_stopped"]

log = structlog.stdlib.get_logger("aexp.stopping")


@dataclass(frozen=True, slots=True)
class Stop:
    """Whether somebody has asked this process to stop."""

    event: anyio.Event = field(default_factory=anyio.Event)

    def asked(self) -> bool:
        """Whether it was asked."""
        return self.event.is_set()

    def ask(self) -> None:
        """Ask."""
        self.event.set()


@asynccontextmanager
async def stop_on_signals(at_once: Callable[[], None]) -> AsyncIterator[Stop]:
    """Turn signals into a Stop while the context lives; a second signal calls ``at_once``."""
    stop = Stop()
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:

        async def watch() -> None:
            async for number in signals:
                if stop.asked():
                    at_once()
                log.warning("run.interrupted", signal=number.name)
                stop.ask()

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            yield stop
            group.cancel_scope.cancel()


@asynccontextmanager
async def until_stopped(stop: Stop, grace_s: float = 0.0) -> AsyncIterator[anyio.CancelScope]:
    """What is done in the context is cut short ``grace_s`` after ``stop`` is asked for, or after it
    began if that was before; the scope tells."""
    with anyio.CancelScope() as cut:
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                await stop.event.wait()
                await anyio.sleep(grace_s)
                cut.cancel()

            group.start_soon(watch)
            yield cut
            group.cancel_scope.cancel()
