"""Pipes that an event loop reads."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import anyio

__all__ = ["read_lines", "read_parts"]

_CHUNK = 65_536


async def read_parts(descriptor: int) -> AsyncIterator[bytes]:
    """Yield what is written to the other end of ``descriptor``, until all of those are closed."""
    os.set_blocking(descriptor, False)
    while True:
        await anyio.wait_readable(descriptor)
        try:
            part = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            continue
        if not part:
            return
        yield part


async def read_lines(descriptor: int) -> AsyncIterator[bytes]:
    """Yield the lines that are written to the other end of ``descriptor``, without their ends.

    What has no line end when the pipe is closed was cut off, and is left out.
    """
    pending = b""
    async for part in read_parts(descriptor):
        *lines, pending = (pending + part).split(b"\n")
        for line in lines:
            yield line
