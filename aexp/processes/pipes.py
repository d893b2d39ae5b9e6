"""Pipes that an event loop reads."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import anyio

__all__ = ["read_parts"]

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
