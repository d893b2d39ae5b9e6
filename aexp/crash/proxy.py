"""A proxy between a worker and PostgreSQL that stops at every durable write.

It listens on a unix socket and passes on what both sides say, as it comes and unchanged. Its
observer is asked just before the message that makes something durable goes on to the server, and
again when the server has acknowledged it and the client has not heard of that yet; either way it
may have the connection cut there instead.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import anyio
import psycopg
import structlog

from aexp.crash.session import Session, Settled
from aexp.crash.wire import (
    CANCEL_REQUEST,
    FLUSH,
    FROM_CLIENT,
    FROM_SERVER,
    LONGEST_STARTUP_BYTES,
    REFUSED,
    UNENCRYPTED,
    Ask,
    Framer,
    Piece,
    read_startup,
)
from aexp.crash.writes import Ordinals, Write
from aexp.database import DatabaseUrl
from aexp.errors import DatabaseUnreachable, ProtocolViolation, UsageError

__all__ = ["Observer", "Proxy", "open_proxy"]

_CHUNK_BYTES = 64 * 1024
# What a client is kept from hearing until a commit is decided; more than that it may hear.
_WITHHELD_BYTES = 64 * 1024
_LONGEST_SOCKET_PATH = 107  # sun_path of unix(7), without its end
_PORT = 5432  # a part of the socket's name
_ENCRYPTING = frozenset({"require", "verify-ca", "verify-full"})
log = structlog.stdlib.get_logger("aexp.crash.proxy")


class Observer(Protocol):
    """Decides what becomes of each durable write. Both may take their time: other connections go on
    meanwhile, the one that writes stands still, even after its client has died."""

    async def before(self, write: Write) -> bool:
        """``write`` has not reached the server. False: it never does, the connection is cut.

        Of a simple query that writes outside a transaction only the text is known here: it may turn
        out to write nothing, and then ``after`` is not called.
        """
        ...

    async def after(self, write: Write) -> bool:
        """``write`` is durable, its client has not heard of it. False: it never does, the
        connection is cut."""
        ...


@dataclass(slots=True)
class Proxy:
    """An open proxy. ``url`` is what a worker uses; ``connections`` says how many were made."""

    url: DatabaseUrl
    observer: Observer
    ordinals: Ordinals
    server: tuple[str, int]
    connections: int = 0

    def forget(self) -> None:
        """Count the writes from 1 again."""
        self.ordinals.forget()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """See one connection of a client to its end."""
        upstream: asyncio.StreamWriter | None = None
        try:
            kind, startup = await _read_startup(reader, writer)
            replies, upstream = await self._dial()
            upstream.write(startup)
            if kind == CANCEL_REQUEST:
                await replies.read()
                return
            self.connections += 1
            name = read_startup(startup[8:]).get("application_name", "")
            link = _Link(self.observer, self.ordinals, name, reader, writer, replies, upstream)
            async with anyio.create_task_group() as group:
                group.start_soon(link.ask)
                group.start_soon(link.answer)
        except (OSError, EOFError) as error:
            # As a client without a proxy would find it: nobody there, or gone in the middle.
            log.debug("crash.connection_lost", error=str(error) or type(error).__name__)
        finally:
            for side in (writer, upstream):
                if side is not None:
                    side.transport.abort()

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self.server
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)


@dataclass(slots=True)
class _Link:
    """One connection of a client, and the one to the server that belongs to it."""

    observer: Observer
    ordinals: Ordinals
    name: str
    questions: asyncio.StreamReader
    client: asyncio.StreamWriter
    replies: asyncio.StreamReader
    server: asyncio.StreamWriter
    session: Session = field(default_factory=Session)
    ended: bool = False
    answered: anyio.Event = field(default_factory=anyio.Event)

    async def ask(self) -> None:
        """Pass on what the client says, until it goes."""
        framer = Framer(FROM_CLIENT)
        try:
            while data := await self.questions.read(_CHUNK_BYTES):
                ready: list[bytes] = []
                for piece in framer.feed(data):
                    if piece.kind and not await self._let_pass(piece, ready):
                        self._cut()
                        return
                    ready.append(piece.data)
                self._send(ready)
                await self.server.drain()
            # The server ends the session when it has done what it was sent: what is still to be
            # acknowledged is durable, though its client has gone.
            if not self.server.is_closing():
                self.server.write_eof()
        except OSError:
            # The server is gone, which its client learns from the other direction.
            self.server.close()

    async def _let_pass(self, piece: Piece, ready: list[bytes]) -> bool:
        """Whether ``piece`` may follow what is ``ready`` to be sent."""
        session = self.session
        request = session.read(piece)
        write = None
        if session.may_commit(request):
            session.concluding = request.kind == Ask.SYNC
            if session.unsettled:
                # Without it the server may keep its answers until the Sync that is held here.
                self._send([*ready, FLUSH])
                ready.clear()
                while session.unsettled:
                    if self.ended:
                        return False
                    self.answered = anyio.Event()
                    await self.answered.wait()
            if effects := session.would_commit(request):
                self._send(ready)
                ready.clear()
                write = self.ordinals.announce(effects, self.name)
                if not await self.observer.before(write):
                    self.ordinals.take_back(write)
                    return False
        session.sent(request, write)
        return True

    def _send(self, ready: list[bytes]) -> None:
        if ready:
            self.server.write(b"".join(ready))

    async def answer(self) -> None:
        """Pass on what the server says, until it goes."""
        framer = Framer(FROM_SERVER)
        withheld: list[bytes] = []
        try:
            while data := await self.replies.read(_CHUNK_BYTES):
                ready: list[bytes] = []
                for piece in framer.feed(data):
                    settled = self.session.received(piece) if piece.kind else None
                    if settled is not None and not await self._report(settled):
                        self._cut()
                        return
                    withheld.append(piece.data)
                    if not self.session.withheld or sum(map(len, withheld)) > _WITHHELD_BYTES:
                        ready += withheld
                        withheld.clear()
                self.answered.set()
                if ready:
                    self.client.write(b"".join(ready))
                    await self.client.drain()
        except OSError:
            # The client is gone, which the server learns from the other direction.
            return
        finally:
            self.ended = True
            self.answered.set()
            self.client.close()

    async def _report(self, settled: Settled) -> bool:
        for write in settled.undone:
            self.ordinals.take_back(write)
        if not settled.durable:
            return True
        write = settled.write or self.ordinals.announce(settled.durable, self.name)
        return await self.observer.after(write)

    def _cut(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()


async def _read_startup(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> tuple[int, bytes]:
    """The message that begins a connection, and its kind or version. Encryption is refused."""
    while True:
        header = await reader.readexactly(8)
        size, kind = int.from_bytes(header[:4]), int.from_bytes(header[4:])
        if not 8 <= size <= LONGEST_STARTUP_BYTES:
            raise ProtocolViolation(f"a connection begins with a message of {size} bytes")
        body = await reader.readexactly(size - 8)
        if kind not in UNENCRYPTED:
            return kind, header + body
        writer.write(REFUSED)


async def _find(url: DatabaseUrl) -> tuple[str, int]:
    """Host, or folder of the socket, and port of the server: where libpq finds it."""
    if url.parsed.query.get("sslmode") in _ENCRYPTING:
        raise UsageError(
            f"database {url} asks for TLS, which leaves nothing to see: use one without"
        )
    try:
        async with await psycopg.AsyncConnection.connect(url.libpq) as connection:
            return connection.info.host, connection.info.port
    except psycopg.OperationalError as error:
        reason = " ".join(str(error).split())
        raise DatabaseUnreachable(f"cannot use database {url}: {reason}") from error


@asynccontextmanager
async def open_proxy(
    url: DatabaseUrl, folder: Path, observer: Observer, *, run_id: str | None = None
) -> AsyncIterator[Proxy]:
    """A proxy to ``url``, whose socket is in ``folder``, for the life of the context.

    With ``run_id`` the keys of writes are relative to it. On the way out every connection is cut.
    What an observer raises comes out of the context. Raises DatabaseUnreachable or UsageError.
    """
    path = Path(await anyio.Path(folder).absolute()) / f".s.PGSQL.{_PORT}"
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise UsageError(f"{folder} has too long a path for a unix socket: set TMPDIR to a shorter")
    address = await _find(url)
    parsed = url.parsed.set(host=None, port=None).difference_update_query(["host", "port"])
    proxied = DatabaseUrl(parsed.update_query_dict({"host": str(path.parent), "port": str(_PORT)}))
    proxy = Proxy(url=proxied, observer=observer, ordinals=Ordinals(run_id), server=address)
    async with anyio.create_task_group() as group:
        server = await asyncio.start_unix_server(
            lambda reader, writer: group.start_soon(proxy.serve, reader, writer), path
        )
        try:
            yield proxy
        finally:
            server.close()
            group.cancel_scope.cancel()
            path.unlink(missing_ok=True)
