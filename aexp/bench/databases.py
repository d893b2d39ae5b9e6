"""A fresh database for each cell, and none left behind.

All databases of a bench bear its token in their names, and for as long as it lives it holds a lock
on that token. What is named so and not locked is a dead bench's, and the next one drops it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import asyncpg

from aexp.database import DatabaseUrl, ensure_schema
from aexp.database.connect import Connection, close, connect
from aexp.errors import DatabaseError

__all__ = ["Databases", "open_databases"]

_NAME = re.compile(r"aexp_bench_([0-9a-f]{8})_\w+")
# Of the two halves of the lock's key the first only has to be ours.
_LOCK_SPACE = 0x6265_6E63


@dataclass(slots=True)
class Databases:
    """The databases of one bench, on the server of ``template``."""

    template: DatabaseUrl
    token: str
    connection: Connection
    made: int = 0
    _lock: anyio.Lock = field(default_factory=anyio.Lock)

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[DatabaseUrl]:
        """A migrated database that nobody has used, for the life of the context."""
        self.made += 1
        name = _name(self.token, str(self.made))
        await self.connection.execute(f"CREATE DATABASE {name} TEMPLATE {self.template.name}")
        try:
            yield self.template.with_name(name)
        finally:
            with anyio.CancelScope(shield=True):
                await _drop(self.connection, name)


@asynccontextmanager
async def open_databases(server: DatabaseUrl) -> AsyncIterator[Databases]:
    """Databases on the server of this URL for the life of the context.

    What a killed bench has left there is dropped first. Raises DatabaseError, also when the user
    may not make databases.
    """
    token = secrets.token_hex(4)
    connection = await connect(server.with_name("postgres"), application_name=f"aexp bench {token}")
    try:
        await connection.execute("SELECT pg_advisory_lock($1, $2)", _LOCK_SPACE, _lock_key(token))
        try:
            await _drop_those_of_the_dead(connection)
            template = server.with_name(_name(token, "template"))
            await ensure_schema(template, create=True)
            yield Databases(template, token, connection)
        except asyncpg.InsufficientPrivilegeError as error:
            raise DatabaseError(
                f"{server} refuses: {error}; the bench needs a user that may make databases"
            ) from error
        finally:
            with anyio.CancelScope(shield=True):
                await _drop_all(connection, token)
    finally:
        await close(connection)


def _name(token: str, what: str) -> str:
    return f"aexp_bench_{token}_{what}"


def _lock_key(token: str) -> int:
    # PostgreSQL's int4 has a sign.
    return int.from_bytes(bytes.fromhex(token), "big", signed=True)


async def _drop_those_of_the_dead(connection: Connection) -> None:
    tokens = {
        match[1]
        for row in await connection.fetch("SELECT datname FROM pg_database")
        if (match := _NAME.fullmatch(row["datname"]))
    }
    for token in tokens:
        key = _lock_key(token)
        if await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", _LOCK_SPACE, key):
            await _drop_all(connection, token)
            await connection.execute("SELECT pg_advisory_unlock($1, $2)", _LOCK_SPACE, key)


async def _drop_all(connection: Connection, token: str) -> None:
    for row in await connection.fetch("SELECT datname FROM pg_database"):
        match = _NAME.fullmatch(row["datname"])
        if match is not None and match[1] == token:
            await _drop(connection, row["datname"])


async def _drop(connection: Connection, name: str) -> None:
    # By force: a cell that was killed leaves sessions that the server has yet to notice.
    await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
