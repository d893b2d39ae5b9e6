"""The processes of cells, as the bench sees them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

from aexp.bench.cell import Order
from aexp.errors import WorkerFailed
from aexp.settings import user_environment

__all__ = ["CellFailed", "Nursery", "open_nursery"]

_LINE_LIMIT = 1024 * 1024
# Of what a cell writes on stderr, so much is kept to say why it failed.
_LAST_WORDS = 4096
_CLOSE_TIMEOUT_S = 5.0


class CellFailed(Exception):
    """A cell that came to nothing; the text says why in one line."""


@asynccontextmanager
async def open_nursery(*, relay: bool) -> AsyncIterator[Nursery]:
    """A process that cells are forked from, for the life of the context.

    No process of it is left, however the context ends. With ``relay`` what cells write on stderr is
    written on ours.
    """
    process = await anyio.open_process(
        # Safe path, see aexp.supervisor.
        [sys.executable, "-P", "-m", "aexp.bench.nursery"],
        stdin=subprocess.PIPE,
        start_new_session=True,
        env=user_environment({"DBOS_SYSTEM_DATABASE_URL": ""}),
    )
    assert process.stdout is not None
    nursery = Nursery(process, BufferedByteReceiveStream(process.stdout), relay=relay)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(nursery.listen)
            group.start_soon(nursery.watch)
            yield nursery
            group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await nursery.close()


@dataclass(slots=True)
class Nursery:
    """Cells, one at a time, each in a process of its own."""

    process: anyio.abc.Process
    told: BufferedByteReceiveStream
    relay: bool = field(kw_only=True)
    cell: int | None = None
    words: deque[bytes] = field(default_factory=lambda: deque(maxlen=64))

    async def carry_out(self, order: Order, timeout_s: float) -> dict[str, Any]:
        """Carry out ``order``; what came of it, as JSON values.

        Raises CellFailed when it ends without that, or takes longer than ``timeout_s``.
        """
        self.words.clear()
        said: dict[str, Any] = {}
        assert self.process.stdin is not None
        try:
            await self.process.stdin.send(order.as_line())
            self.cell = (await self._next())["pid"]
            with anyio.move_on_after(timeout_s) as limit:
                while "ended" not in (told := await self._next()):
                    said = told
            if limit.cancelled_caught:
                self.kill_cell()
                while "ended" not in (told := await self._next()):
                    pass
        except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead) as error:
            code = await self.process.wait()
            raise WorkerFailed(self.process.pid, code, self._last_words()) from error
        if limit.cancelled_caught:
            raise CellFailed(f"it was killed after {timeout_s:g} s")
        if told["ended"] == 0 and "came_of_it" in said:
            came_of_it: dict[str, Any] = said["came_of_it"]
            return came_of_it
        why = said.get("failed") or self._last_words()
        raise CellFailed(f"exit code {told['ended']}: {why}")

    async def _next(self) -> dict[str, Any]:
        line: dict[str, Any] = json.loads(await self.told.receive_until(b"\n", _LINE_LIMIT))
        if "ended" in line:
            # Its number may be another's from now on.
            self.cell = None
        return line

    def _last_words(self) -> str:
        words = b"".join(self.words)[-_LAST_WORDS:].decode(errors="replace").split("\n")
        return next((line for line in reversed(words) if line.strip()), "it said nothing")

    def kill_cell(self) -> None:
        """Kill the cell, if one is at work, and what it has started."""
        if self.cell is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.cell, signal.SIGKILL)

    async def close(self) -> None:
        """End it, and its cell.

        The end of its stdin makes it kill its cell, also one of which it has not told yet.
        """
        assert self.process.stdin is not None
        await self.process.stdin.aclose()
        with anyio.move_on_after(_CLOSE_TIMEOUT_S):
            await self.process.wait()
        if self.process.returncode != 0:
            self.kill_cell()
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
        await self.process.aclose()

    async def watch(self) -> None:
        """Kill the cell when the process that it came from has been killed, until cancelled.

        The cell would live on, and hold the pipe open that tells of it.
        """
        await self.process.wait()
        self.kill_cell()

    async def listen(self) -> None:
        """Keep what is written on stderr last, until cancelled."""
        assert self.process.stderr is not None
        async for part in self.process.stderr:
            self.words.append(part)
            if self.relay:
                sys.stderr.write(part.decode(errors="replace"))
                sys.stderr.flush()
