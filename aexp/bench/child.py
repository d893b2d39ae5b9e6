"""The process of a cell, as the bench sees it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.abc

import aexp
from aexp.bench.cell import Order
from aexp.database import DatabaseUrl
from aexp.settings import user_environment

__all__ = ["CellFailed", "run_cell"]

# Of what it writes on stderr, so much is kept to say why it failed.
_LAST_WORDS = 4096


class CellFailed(Exception):
    """A cell that came to nothing; the text says why in one line."""


async def run_cell(
    order: Order, url: DatabaseUrl, *, timeout_s: float, relay: bool = False
) -> dict[str, Any]:
    """Carry out ``order`` in a process of its own on ``url``; what it told of it, as JSON values.

    With ``relay`` what it writes on stderr is written on ours.
    Raises CellFailed when it ends without that, or takes longer than ``timeout_s``. No process of
    it is left, however this ends.
    """
    package = str(Path(aexp.__file__).parent.parent)
    process = await anyio.open_process(
        # Safe path, see aexp.supervisor.
        [sys.executable, "-P", "-m", "aexp.bench.cell"],
        stdin=subprocess.PIPE,
        start_new_session=True,
        env=user_environment(
            {
                "AEXP_DATABASE_URL": url.libpq,
                "DBOS_SYSTEM_DATABASE_URL": "",
                "AEXP_API_TOKEN": "",
            },
            python_path=package,
        ),
    )
    try:
        with anyio.fail_after(timeout_s):
            return await _follow(process, order, relay=relay)
    except TimeoutError:
        raise CellFailed(f"it was killed after {timeout_s:g} s") from None
    finally:
        with anyio.CancelScope(shield=True):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            await process.aclose()


@dataclass(slots=True)
class _Told:
    """What a cell has written."""

    out: bytearray
    words: deque[bytes]


async def _follow(process: anyio.abc.Process, order: Order, *, relay: bool) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    told = _Told(bytearray(), deque(maxlen=64))
    async with anyio.create_task_group() as group:
        group.start_soon(_collect, process.stdout, told.out)
        group.start_soon(_keep_last, process.stderr, told.words, relay)
        # One that has ended already says why.
        with contextlib.suppress(anyio.BrokenResourceError):
            await process.stdin.send(order.as_line())
        code = await process.wait()
        # What it has started may hold the pipes open for ever.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if code == 0 and told.out.endswith(b"\n"):
        came_of_it: dict[str, Any] = json.loads(told.out)
        return came_of_it
    words = b"".join(told.words)[-_LAST_WORDS:].decode(errors="replace").split("\n")
    last = next((line for line in reversed(words) if line.strip()), "it said nothing")
    raise CellFailed(f"exit code {code}: {last}")


async def _collect(stream: anyio.abc.ByteReceiveStream, into: bytearray) -> None:
    async for part in stream:
        into += part


async def _keep_last(
    stream: anyio.abc.ByteReceiveStream,
    into: deque[bytes],
    relay: bool,  # noqa: FBT001
) -> None:
    async for part in stream:
        into.append(part)
        if relay:
            sys.stderr.write(part.decode(errors="replace"))
            sys.stderr.flush()
