"""The processes of cells, as the bench sees them."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import anyio

from aexp.bench.measure.cell import CellJob
from aexp.errors import WorkerFailed
from aexp.processes.child import Child, ForkServer, ForkServerFailed, open_forkserver
from aexp.processes.pipes import read_parts

__all__ = ["CellFailed", "Cells", "open_cells"]

# Of what a cell writes on stderr, so much is kept to say why it failed.
_LAST_WORDS = 4096
# What it has started may hold its streams open until it is killed as well.
_LAST_WORDS_S = 5.0


class CellFailed(Exception):
    """A cell that came to nothing; the text says why in one line."""


@asynccontextmanager
async def open_cells(*, relay: bool) -> AsyncIterator[Cells]:
    """Start a process that cells are forked from, for the life of the context.

    No process of it is left, however the context ends. With ``relay`` what cells write on stderr is
    written on ours.
    """
    async with open_forkserver(
        "aexp.bench.measure.cell:warm", environment={"DBOS_SYSTEM_DATABASE_URL": ""}
    ) as server:
        yield Cells(server, relay=relay)


@dataclass(slots=True)
class Cells:
    """Cells, one at a time, each in a process of its own."""

    server: ForkServer
    relay: bool

    async def measure(self, job: CellJob, timeout_s: float) -> dict[str, Any]:
        """Do ``job``, and return its result, of JSON values.

        Raises CellFailed when it ends without one, or takes longer than ``timeout_s``.
        """
        try:
            child = await self.server.start("aexp.bench.measure.cell:be_cell", asdict(job))
            with _closed(child):
                return await self._follow(child, timeout_s)
        except ForkServerFailed as error:
            process = self.server.process
            code = await process.wait()
            raise WorkerFailed(process.pid, code, "the cell that it was to fork is lost") from error

    async def _follow(self, child: Child, timeout_s: float) -> dict[str, Any]:
        output: list[bytes] = []
        words: deque[bytes] = deque(maxlen=64)
        try:
            async with anyio.create_task_group() as reading:
                reading.start_soon(partial(_read, child.stdout, output, relay=False))
                reading.start_soon(partial(_read, child.stderr, words, relay=self.relay))
                with anyio.move_on_after(timeout_s) as limit:
                    await child.ended.wait()
                child.kill()
                await child.ended.wait()
                reading.cancel_scope.deadline = anyio.current_time() + _LAST_WORDS_S
        finally:
            child.kill()
        code = await child.wait()
        if limit.cancelled_caught:
            raise CellFailed(f"it was killed after {timeout_s:g} s")
        message = json.loads(b"".join(output) or b"{}")
        if code == 0 and "result" in message:
            result: dict[str, Any] = message["result"]
            return result
        raise CellFailed(f"exit code {code}: {message.get('failed') or _last_line(words)}")


async def _read(descriptor: int | None, into: list[bytes] | deque[bytes], *, relay: bool) -> None:
    assert descriptor is not None
    async for part in read_parts(descriptor):
        into.append(part)
        if relay:
            sys.stderr.write(part.decode(errors="replace"))
            sys.stderr.flush()


@contextmanager
def _closed(child: Child) -> Iterator[None]:
    try:
        yield
    finally:
        child.close()


def _last_line(words: deque[bytes]) -> str:
    lines = b"".join(words)[-_LAST_WORDS:].decode(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")
