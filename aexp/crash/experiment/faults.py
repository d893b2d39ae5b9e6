"""What an explorer sees at the proxy, and what it does there: strike at a write, once."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel
import psutil

from aexp.crash.judge.evidence import Landed, Outage, Seen
from aexp.crash.judge.points import Fault, Side
from aexp.crash.proxy.writes import Write
from aexp.processes.child import Child

__all__ = ["Pause", "Watch"]


@dataclass(slots=True)
class Pause:
    """A worker that is stopped at a write, and stands there until it is released."""

    stopped: anyio.Event = field(default_factory=anyio.Event)
    released: anyio.Event = field(default_factory=anyio.Event)


@dataclass(slots=True)
class Watch:
    """Sees every write, and strikes at each of ``faults`` in turn; ``stop_server`` stops PostgreSQL
    and starts it again, where one of them does.

    From a kill until the next worker is expected nothing passes: what a dead process has left in
    its sockets is as lost as the rest of it. The connection of a write at which a worker is stopped
    stands still until the ``pause`` is over.
    """

    faults: Sequence[Fault]
    writes: list[Seen] = field(default_factory=list)
    landed: list[Landed] = field(default_factory=list)
    life: int = 0
    active_at: float = 0.0
    _worker: Child | None = None
    _known: anyio.Event = field(default_factory=anyio.Event)
    _down: bool = False
    stop_server: Callable[[], Awaitable[Outage]] | None = None
    pause: Pause = field(default_factory=Pause)
    _under_way: list[Write] = field(default_factory=list)
    # Held while a fault strikes.
    _striking: anyio.Lock = field(default_factory=anyio.Lock)

    def expect(self, life: int) -> None:
        """Expect a worker that is about to be started: from now on writes pass again."""
        self.life, self._worker, self._known, self._down = life, None, anyio.Event(), False
        self._under_way.clear()

    def meet(self, worker: Child) -> None:
        """Note which process the expected worker is."""
        self._worker = worker
        self._known.set()

    def lost_in(self, life: int) -> bool:
        """Return whether an acknowledgement was lost in that life."""
        return any(landed.code is None and landed.life == life for landed in self.landed)

    def sending(self) -> int | None:
        """Return the life whose worker sends what comes now; None when it may be either of two."""
        if self.pause.released.is_set():
            return None
        # While one is stopped the other one works.
        return self.life + 1 if self.pause.stopped.is_set() else self.life

    async def calm(self) -> None:
        """Wait for the end of a fault that is just striking: it may outlast its worker."""
        async with self._striking:
            pass

    async def before(self, write: Write) -> bool:
        """Decide whether ``write`` may go on its way."""
        if not write.bookkeeping:
            self.active_at = time.monotonic()
        if self._down:
            return False
        if self._is_next(write, (Side.BEFORE, Side.POSTGRES_BEFORE)):
            await self._strike(write)
            return False
        self._under_way.append(write)
        if self._is_next(write, (Side.ZOMBIE_BEFORE,)):
            await self._stop_worker(write)
        return True

    async def after(self, write: Write) -> bool:
        """Decide whether the client may hear that ``write`` is durable."""
        strikes = not self._down and self._is_next(
            write, (Side.AFTER, Side.LOST_ACK, Side.POSTGRES_AFTER)
        )
        self.writes.append(Seen(write, self.life, time.monotonic()))
        if not write.bookkeeping:
            self.active_at = time.monotonic()
        if strikes:
            await self._strike(write)
            return False
        if self._down:
            return False
        if write in self._under_way:
            self._under_way.remove(write)
        if self._is_next(write, (Side.ZOMBIE_AFTER,)):
            await self._stop_worker(write)
        return True

    def _is_next(self, write: Write, sides: Sequence[Side]) -> bool:
        if len(self.landed) == len(self.faults):
            return False
        fault = self.faults[len(self.landed)]
        return fault.side in sides and fault.write == write.point

    async def _strike(self, write: Write) -> None:
        await self._known.wait()
        worker = self._worker
        assert worker is not None
        # A write that comes when its worker is known to be dead strikes nobody.
        if worker.code is not None:
            return
        async with self._striking:
            fault = self.faults[len(self.landed)]
            at, code, outage = time.monotonic(), None, None
            doubted = [write] if fault.side is Side.LOST_ACK else []
            if fault.side.kills:
                self._down = True
                worker.kill()
                code = await worker.wait()
            elif fault.side.stops_server:
                outage, doubted = await self._outage()
                doubted += [write] if fault.side.arrives else []
            self.landed.append(Landed(fault, write, self.life, at, code, outage, doubted))

    async def _stop_worker(self, write: Write) -> None:
        await self._known.wait()
        worker = self._worker
        assert worker is not None
        worker.stop()
        if await _stands_still(worker):
            fault = self.faults[len(self.landed)]
            self.landed.append(Landed(fault, write, self.life, time.monotonic(), None))
            self.pause.stopped.set()
            await self.pause.released.wait()

    async def _outage(self) -> tuple[Outage, list[Write]]:
        """Let nothing pass until the server is there again and has been looked at; return the
        writes of which nobody heard what became of them.
        """
        assert self.stop_server is not None
        self._down = True
        outage = await self.stop_server()
        lost = list(self._under_way)
        self._under_way.clear()
        self._down, self.active_at = False, time.monotonic()
        return outage, lost


async def _stands_still(worker: Child) -> bool:
    """Wait until the worker stands still; return False when it has ended instead."""
    while worker.code is None:
        try:
            if psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED:
                return True
        except psutil.NoSuchProcess:
            return False
        await anyio.lowlevel.checkpoint()
    return False
