"""One connection of a client and the one to the server that belongs to it.

What arrives is passed on within the call that brings it: a message costs no task and no turn of the
loop. Only a message that makes something durable stops its side, until the observer has decided.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio
import anyio.abc
import structlog

from aexp.crash.proxy.endpoint import BUSY, FULL, Endpoint
from aexp.crash.proxy.frames import (
    FLUSH,
    FROM_CLIENT,
    FROM_SERVER,
    LONGEST_STARTUP_BYTES,
    REFUSED,
    UNENCRYPTED,
    Ask,
    Framer,
    Piece,
    Reply,
    read_error,
)
from aexp.crash.proxy.transactions import ClientRequest, Session, Settled
from aexp.crash.proxy.writes import Ordinals, Write
from aexp.errors import DatabaseError, ProtocolViolation

__all__ = ["Observer", "ProxiedConnection"]

# What a client is kept from hearing until a commit is decided; more than that it may hear.
_WITHHELD_BYTES = 64 * 1024
_DISK_FULL = "53100"
log = structlog.stdlib.get_logger("aexp.crash.proxy.connection")


class Observer(Protocol):
    """Decides what becomes of each durable write. Both may take their time: other connections go on
    meanwhile, the one that writes stands still, even after its client has died.
    """

    async def before(self, write: Write) -> bool:
        """``write`` has not reached the server. False: it never does, the connection is cut.

        Of a simple query that writes outside a transaction only the text is known here: it may turn
        out to write nothing, and then ``after`` is not called.
        """
        ...

    async def after(self, write: Write) -> bool:
        """``write`` is durable, its client has not heard of it. False: it never does, the
        connection is cut.
        """
        ...


class ProxiedConnection:
    """Passes on what both sides say, and asks the observer about every durable write."""

    def __init__(self, observer: Observer, ordinals: Ordinals, group: anyio.abc.TaskGroup) -> None:
        self.client = Endpoint(self._guarded(self._begun), self._client_ended)
        self.server = Endpoint(self._guarded(self._answered), self._server_ended)
        self.client.other, self.server.other = self.server, self.client
        self._observer = observer
        self._ordinals = ordinals
        self._group = group
        self._session = Session()
        self._greeting = b""
        self._asked = Framer(FROM_CLIENT)
        self._questions: deque[Piece] = deque()
        self._deciding = False
        self._told = Framer(FROM_SERVER)
        self._answers: deque[Piece] = deque()
        self._acknowledging = False
        self._withheld: list[bytes] = []
        self._greeted = anyio.Event()
        self._heard = anyio.Event()
        self._over = anyio.Event()

    async def live(self, dial: Callable[[Endpoint], Awaitable[None]]) -> None:
        """See the connection to its end; ``dial`` connects its other side."""
        try:
            await self._greeted.wait()
            if not self._over.is_set():
                await dial(self.server)
                self.server.send([self._greeting])
                self.client.go_on(BUSY)
                await self._over.wait()
        except OSError as error:
            # As a client without a proxy would find it: nobody there.
            log.debug("crash.server_not_reached", error=str(error))
        finally:
            self.cut()

    def _guarded(self, take: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Let what ``take`` raises end the proxy: an event loop would only log it."""

        def guarded(data: bytes) -> None:
            try:
                take(data)
            except Exception as error:
                self.cut()
                self._group.start_soon(_raise, error)

        return guarded

    def _begun(self, data: bytes) -> None:
        """Read the beginning of a connection; encryption is refused."""
        self._greeting += data
        while len(self._greeting) >= 8:
            size = int.from_bytes(self._greeting[:4])
            kind = int.from_bytes(self._greeting[4:8])
            if not 8 <= size <= LONGEST_STARTUP_BYTES:
                raise ProtocolViolation(f"a connection begins with a message of {size} bytes")
            if len(self._greeting) < size:
                return
            if kind not in UNENCRYPTED:
                if len(self._greeting) > size:
                    raise ProtocolViolation("a client goes on before the server has greeted it")
                self.client.take = self._guarded(self._arrived)
                self.client.stop(BUSY)
                self._greeted.set()
                return
            self._greeting = self._greeting[size:]
            self.client.send([REFUSED])

    def _arrived(self, data: bytes) -> None:
        self._questions.extend(self._asked.feed(data))
        if not self._deciding:
            self._ask([])

    def _ask(self, ready: list[bytes]) -> None:
        """Pass on what the client says, up to what must be decided."""
        session = self._session
        while self._questions:
            piece = self._questions.popleft()
            if piece.kind:
                request = session.read(piece)
                if session.may_commit(request):
                    session.concluding = request.kind == Ask.SYNC
                    if session.unsettled:
                        # Else the server may keep its answers until the Sync that is held here.
                        ready.append(FLUSH)
                    if session.unsettled or session.would_commit(request):
                        self._deciding = True
                        self.client.stop(BUSY)
                        self.server.send(ready)
                        self._group.start_soon(self._decide, piece, request)
                        return
                session.sent(request)
            ready.append(piece.data)
        self.server.send(ready)

    async def _decide(self, piece: Piece, request: ClientRequest) -> None:
        session = self._session
        while session.unsettled:
            if self.server.closed:
                return
            self._heard = anyio.Event()
            await self._heard.wait()
        write = None
        if effects := session.would_commit(request):
            write = self._ordinals.announce(effects)
            if not await self._observer.before(write):
                self._ordinals.take_back(write)
                self.cut()
                return
        session.sent(request, write)
        self._deciding = False
        self._ask([piece.data])
        if not self._deciding:
            self.client.go_on(BUSY)

    def _answered(self, data: bytes) -> None:
        self._answers.extend(self._told.feed(data))
        if not self._acknowledging:
            self._tell([])

    def _tell(self, ready: list[bytes]) -> None:
        """Pass on what the server says, up to what acknowledges a write."""
        while self._answers:
            piece = self._answers.popleft()
            if piece.kind == Reply.ERROR:
                self._check_room(piece)
            settled = self._session.received(piece) if piece.kind else None
            if settled is not None:
                for write in settled.undone:
                    self._ordinals.take_back(write)
                if settled.durable:
                    self._acknowledging = True
                    self.server.stop(BUSY)
                    self.client.send(ready)
                    self._group.start_soon(self._acknowledge, piece, settled)
                    return
            ready += self._let_hear(piece)
        self.client.send(ready)
        self._heard.set()

    def _check_room(self, piece: Piece) -> None:
        """End the proxy for a run that finds no room: it says nothing about its promises."""
        state, text = read_error(piece.body)
        if state == _DISK_FULL:
            reason = DatabaseError(f"the disk of the database is full: {text}")
            self._group.start_soon(_raise, reason)

    def _let_hear(self, piece: Piece) -> list[bytes]:
        """Return what the client may hear now."""
        self._withheld.append(piece.data)
        if self._session.withheld and sum(map(len, self._withheld)) <= _WITHHELD_BYTES:
            return []
        heard, self._withheld = self._withheld, []
        return heard

    async def _acknowledge(self, piece: Piece, settled: Settled) -> None:
        write = settled.write or self._ordinals.announce(settled.durable)
        if not await self._observer.after(write):
            self.cut()
            return
        self._acknowledging = False
        self._tell(self._let_hear(piece))
        if not self._acknowledging:
            self.server.go_on(BUSY)

    def _client_ended(self) -> None:
        # What the server acknowledges is durable, though the client has gone: it ends the session
        # when it has done what it was sent. A client that is lost waits for nothing else.
        if not self.client.closed:
            self.server.finish()
        elif self._session.announced:
            self.server.finish()
            self.server.go_on(FULL)
        else:
            self.server.abort()
        self._ended()

    def _server_ended(self) -> None:
        self._heard.set()
        self.client.close()
        self.server.close()
        self._ended()

    def _ended(self) -> None:
        if self.server.transport is None or (self.client.closed and self.server.closed):
            self._greeted.set()
            self._over.set()

    def cut(self) -> None:
        """Close both sides at once."""
        self.client.abort()
        self.server.abort()


async def _raise(error: Exception) -> None:
    raise error
