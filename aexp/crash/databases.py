"""Databases for the points of an exploration, each a fresh copy of one migrated template.

Their names share a token, and whoever made them holds a lock of that token for as long as it lives:
what an explorer that was killed has left is found by the next one, and dropped.
"""

from __future__ import annotations

import re
import secrets
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count

import anyio
import asyncpg

from aexp.database import DatabaseUrl, ensure_schema
from aexp.database.connect import Connection, connected
from aexp.errors import DatabaseError

__all__ = ["Databases", "open_databases"]

_PREFIX = "aexp_crash_"
_NAME = re.compile(rf"{_PREFIX}(?P<token>[0-9a-f]{{12}})_.*")
# "crsh" in ASCII: the first half of our locks.
_LOCKS = 0x63727368


class Databases:
    """Copies of a template on one server."""

    def __init__(self, connection: Connection, server: DatabaseUrl, token: str) -> None:
        self._connection = connection
        self._server = server
        self._token = token
        self._numbers = count(1)
        # A connection does one thing at a time.
        self._lock = anyio.Lock()
        self.template = server.with_name(f"{_PREFIX}{token}_template")

    @asynccontextmanager
    async def copy(self) -> AsyncIterator[DatabaseUrl]:
        """A copy of the template, dropped at the end, whoever is still connected to it."""
        name = f"{_PREFIX}{self._token}_{next(self._numbers)}"
        try:
            await self._execute(f"CREATE DATABASE {name} TEMPLATE {self.template.name}")
            yield self._server.with_name(name)
        finally:
            with anyio.CancelScope(shield=True):
                await self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    async def _execute(self, statement: str) -> None:
        async with self._lock:
            await self._connection.execute(statement)


@asynccontextmanager
async def open_databases(
    url: DatabaseUrl,
    prepare: Callable[[DatabaseUrl], Awaitable[None]],
    *,
    origin: str | None = None,
) -> AsyncIterator[Databases]:
    """Make a migrated template on the server of ``url``, which ``prepare`` completes.

    It begins as a copy of the database ``origin``, to which nobody may be connected, or empty. All
    is dropped at the end. Raises DatabaseError.
    """
    token = secrets.token_hex(6)
    async with connected(url.with_name("postgres")) as connection:
        await connection.execute("SELECT pg_advisory_lock($1, $2)", _LOCKS, _key(token))
        await _drop_abandoned(connection)
        databases = Databases(connection, url, token)
        try:
            if origin is not None:
                await _copy(connection, origin, databases.template.name)
            await ensure_schema(databases.template, create=True)
            await prepare(databases.template)
            yield databases
        finally:
            with anyio.CancelScope(shield=True):
                await _drop(connection, databases.template.name)


def _key(token: str) -> int:
    return zlib.crc32(token.encode()) - 2**31


async def _drop_abandoned(connection: Connection) -> None:
    names = await connection.fetch(
        "SELECT datname FROM pg_database WHERE starts_with(datname, $1)", _PREFIX
    )
    for row in names:
        found = _NAME.fullmatch(row["datname"])
        if found is None:
            continue
        key = _key(found["token"])
        # Our own lock is ours a second time, so our own token must not come up here: it is new.
        if await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", _LOCKS, key):
            await _drop(connection, row["datname"])
            await connection.execute("SELECT pg_advisory_unlock($1, $2)", _LOCKS, key)


async def _copy(connection: Connection, origin: str, name: str) -> None:
    quoted = '"' + origin.replace('"', '""') + '"'
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {quoted}")
    except asyncpg.PostgresError as error:
        raise DatabaseError(f"cannot copy database {origin!r}: {error}") from error


async def _drop(connection: Connection, name: str) -> None:
    await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
