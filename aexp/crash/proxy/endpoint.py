"""One end of a proxied connection: a socket that is not read while there is a reason not to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

__all__ = ["BUSY", "FULL", "Endpoint"]

# Why an endpoint is not read: the other one takes no more, or something is to be decided first.
FULL, BUSY = "full", "busy"


class Endpoint(asyncio.Protocol):
    """A socket: hands what arrives to ``take``, and says by ``end`` that no more comes."""

    def __init__(self, take: Callable[[bytes], None], end: Callable[[], None]) -> None:
        self.take = take
        self.closed = False
        self.other: Endpoint | None = None
        self.transport: asyncio.Transport | None = None
        self._end = end
        self._stopped: set[str] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's has all of it and is no subclass.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.take(data)

    def eof_received(self) -> bool:
        self._end()
        # What the other side still says is passed on.
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self.closed = True
        self._end()

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.stop(FULL)

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.go_on(FULL)

    def stop(self, reason: str) -> None:
        """Read no more."""
        if not self._stopped and self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()
        self._stopped.add(reason)

    def go_on(self, reason: str) -> None:
        """Read again, unless there is another reason not to."""
        self._stopped.discard(reason)
        if not self._stopped and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def send(self, ready: list[bytes]) -> None:
        """Pass on what is ``ready``, in one piece; nobody hears it when the socket is closed."""
        if ready and self.transport is not None and not self.transport.is_closing():
            self.transport.write(b"".join(ready))

    def finish(self) -> None:
        """Say nothing more, but still hear."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write_eof()

    def close(self) -> None:
        """Close when all is said."""
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self.transport is not None:
            self.transport.abort()
