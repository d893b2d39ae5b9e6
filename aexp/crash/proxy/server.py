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

import anyio
import anyio.abc
import psycopg

from aexp.crash.proxy.connection import Observer, ProxiedConnection
from aexp.crash.proxy.endpoint import Endpoint
from aexp.crash.proxy.writes import Ordinals
from aexp.database import DatabaseUrl
from aexp.errors import DatabaseUnreachable, UsageError

__all__ = ["Proxy", "find_server", "open_proxy"]

_LONGEST_SOCKET_PATH = 107  # sun_path of unix(7), without its end
_PORT = 5432  # a part of the socket's name
_ENCRYPTING = frozenset({"require", "verify-ca", "verify-full"})


@dataclass(slots=True)
class Proxy:
    """An open proxy. ``url`` is what a worker uses; ``connections`` counts those made to it."""

    url: DatabaseUrl
    observer: Observer
    ordinals: Ordinals
    server: tuple[str, int]
    connections: int = 0
    links: set[ProxiedConnection] = field(default_factory=set)

    def link(self, group: anyio.abc.TaskGroup) -> Endpoint:
        """Make the endpoint that speaks with the next client that connects."""
        self.connections += 1
        link = ProxiedConnection(self.observer, self.ordinals, group)
        self.links.add(link)
        group.start_soon(self._see_off, link)
        return link.client

    async def _see_off(self, link: ProxiedConnection) -> None:
        await link.live(self._dial)
        self.links.discard(link)

    async def _dial(self, side: Endpoint) -> None:
        loop = asyncio.get_running_loop()
        host, port = self.server
        if host.startswith("/"):
            await loop.create_unix_connection(lambda: side, f"{host}/.s.PGSQL.{port}")
        else:
            await loop.create_connection(lambda: side, host, port)


async def find_server(url: DatabaseUrl) -> tuple[str, int]:
    """Find host, or folder of the socket, and port of the server, as libpq does.

    Raises DatabaseUnreachable, or UsageError for a connection that a proxy could not read.
    """
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
    url: DatabaseUrl,
    folder: Path,
    observer: Observer,
    *,
    server: tuple[str, int],
    run_id: str | None = None,
) -> AsyncIterator[Proxy]:
    """Open a proxy to ``url`` on ``server`` for the life of the context.

    Its socket is in ``folder``. With ``run_id`` the keys of writes are relative to it. On the way
    out every connection is cut. What an observer raises comes out of the context. Raises
    UsageError.
    """
    path = Path(await anyio.Path(folder).absolute()) / f".s.PGSQL.{_PORT}"
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise UsageError(f"{folder} has too long a path for a unix socket: set TMPDIR to a shorter")
    parsed = url.parsed.set(host=None, port=None).difference_update_query(["host", "port"])
    proxied = DatabaseUrl(parsed.update_query_dict({"host": str(path.parent), "port": str(_PORT)}))
    proxy = Proxy(url=proxied, observer=observer, ordinals=Ordinals(run_id), server=server)
    async with anyio.create_task_group() as group:
        loop = asyncio.get_running_loop()
        listening = await loop.create_unix_server(lambda: proxy.link(group), str(path))
        try:
            yield proxy
        finally:
            listening.close()
            group.cancel_scope.cancel()
            # A task that is cancelled before it began has nothing of its own to close.
            for link in proxy.links:
                link.cut()
            path.unlink(missing_ok=True)
