"""Throwaway databases, each a copy of one migrated template, and none left behind.

All that somebody makes bear a token of theirs in their names, and for as long as they live they
hold a lock on that token. What is named so and not locked is a dead one's, and the next one drops
it.
"""

from __future__ import annotations

import re
import secrets
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import structlog

from aexp.database.connect import Connection, close, connect, refusals_told
from aexp.database.schema import ensure_schema
from aexp.database.transfer import transfer
from aexp.database.url import DatabaseUrl
from aexp.errors import DatabaseError

__all__ = ["Copies", "open_copies"]

_TOKEN_BYTES = 6
_END_OUR_SESSIONS = (
    "SELECT count(pg_terminate_backend(pid, $2)) FROM pg_stat_activity"
    " WHERE datname = $1 AND usename = current_user"
)
_SESSIONS_END_MS = 5000
# Those of another user are dropped by the next one who may.
_OURS = """
    SELECT coalesce(array_agg(datname::text), '{}') FROM pg_database
    WHERE pg_has_role(datdba, 'USAGE')
"""
# A copy of the files needs two checkpoints, and takes half as long as one by way of the WAL where a
# checkpoint waits for no disk. Its first session finds the server's own cache of catalogs in place.
_STRATEGY = """
    SELECT CASE WHEN NOT current_setting('fsync')::bool
        AND current_setting('server_version_num')::int >= 150000
        THEN ' STRATEGY FILE_COPY' ELSE '' END
"""
log = structlog.stdlib.get_logger("aexp.database.copies")


class Copies:
    """Copies of ``template`` on its server, each named ``prefix``_TOKEN_NUMBER.

    ``origin`` is the database that the template was made of, or the server's own when of none.
    """

    def __init__(self, connection: Connection, server: DatabaseUrl, prefix: str) -> None:
        self.connection = connection
        self.origin = server
        self._server = server
        self._prefix = prefix
        self._token = secrets.token_hex(_TOKEN_BYTES)
        self._names = re.compile(rf"{prefix}_(?P<token>[0-9a-f]{{{2 * _TOKEN_BYTES}}})_\w+")
        self._numbers = count(1)
        # A connection does one thing at a time.
        self._lock = anyio.Lock()
        self._strategy = ""
        self.template = server.with_name(self._name("template"))

    def owns(self, name: str) -> bool:
        """Return whether the database ``name`` is the template, or a copy of it."""
        found = self._names.fullmatch(name)
        return found is not None and found["token"] == self._token

    @asynccontextmanager
    async def copy(self) -> AsyncIterator[DatabaseUrl]:
        """Make a fresh database; drop it at the end, whoever is still connected to it.

        Raises DatabaseError when it cannot be made.
        """
        name = self._name(str(next(self._numbers)))
        source = f"{self.template.name}{self._strategy}"
        await self._execute(f"CREATE DATABASE {name} TEMPLATE {source}")
        try:
            yield self.template.with_name(name)
        finally:
            with anyio.CancelScope(shield=True), _left_to_the_next():
                await self._drop(name)

    async def begin(self, origin: str | None) -> None:
        """Drop what the dead have left, and make the template: of ``origin``, or empty."""
        await self._execute("SELECT pg_advisory_lock($1, $2)", *self._key(self._token))
        await self._drop_those_of_the_dead()
        self._strategy = await self._execute(_STRATEGY)
        if origin is None:
            await self._execute(f"CREATE DATABASE {self.template.name}")
            return
        self.origin = self._server.with_name(origin)
        quoted = '"' + origin.replace('"', '""') + '"'
        try:
            source = f"{quoted}{self._strategy}"
            await self._execute(f"CREATE DATABASE {self.template.name} TEMPLATE {source}")
        except DatabaseError as error:
            if not isinstance(error.__cause__, asyncpg.ObjectInUseError):
                raise
            log.warning("database.copied_in_use", database=str(self.origin), reason=str(error))
            await self._transfer()

    async def _transfer(self) -> None:
        """Make the template of what a dump tells of the origin, to which somebody is connected."""
        with tempfile.TemporaryDirectory(prefix="aexp-dump-") as folder:
            await transfer(
                self.origin,
                self.template,
                Path(folder),
                origin=self.origin,
                whose="of its own server",
                way_out="close what is connected to it, so that the server itself can copy it",
            )

    async def reconnect(self) -> None:
        """Go on when the server was started again, which has ended the connection."""
        self.connection.terminate()
        self.connection = await connect(
            self._server.with_name("postgres"), application_name=self._prefix
        )
        await self._execute("SELECT pg_advisory_lock($1, $2)", *self._key(self._token))

    async def end(self) -> None:
        """Drop all that is ours."""
        with _left_to_the_next():
            await self._drop_all(self._token)

    def _name(self, what: str) -> str:
        return f"{self._prefix}_{self._token}_{what}"

    def _key(self, token: str) -> tuple[int, int]:
        # Of the two halves the first only has to be ours. PostgreSQL's int4 has a sign.
        return _signed(self._prefix), _signed(token)

    async def _drop_those_of_the_dead(self) -> None:
        for token in {token for token, _ in await self._found()} - {self._token}:
            key = self._key(token)
            if await self._execute("SELECT pg_try_advisory_lock($1, $2)", *key):
                await self._drop_all(token)
                await self._execute("SELECT pg_advisory_unlock($1, $2)", *key)

    async def _drop_all(self, owner: str) -> None:
        for token, name in await self._found():
            if token == owner:
                await self._drop(name)

    async def _found(self) -> list[tuple[str, str]]:
        """Find token and name of every database of the prefix that this user may drop."""
        names = await self._execute(_OURS)
        matches = filter(None, map(self._names.fullmatch, names))
        return [(match["token"], match[0]) for match in matches]

    async def _drop(self, name: str) -> None:
        """Drop a database, if it is there, whoever is connected to it."""
        # By force: a process that was killed leaves sessions that the server has yet to notice.
        try:
            await self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        except DatabaseError as error:
            if not isinstance(error.__cause__, asyncpg.InsufficientPrivilegeError):
                raise
            # A common user may not end the server's autovacuum. Without force, that is ended by the
            # server itself, which refuses because of sessions instead: they are ours.
            await self._execute(_END_OUR_SESSIONS, name, _SESSIONS_END_MS)
            await self._execute(f"DROP DATABASE IF EXISTS {name}")

    async def _execute(self, statement: str, *values: object) -> Any:
        """Execute ``statement`` and return the first column of its first row, if any."""
        async with self._lock:
            with refusals_told(self._server):
                try:
                    return await self.connection.fetchval(statement, *values)
                except asyncpg.InsufficientPrivilegeError as error:
                    raise DatabaseError(
                        f"{self._server} refuses: {error}; it takes a user that may make databases"
                    ) from error


@asynccontextmanager
async def open_copies(
    server: DatabaseUrl,
    *,
    prefix: str,
    origin: str | None = None,
    migrate: bool = True,
) -> AsyncIterator[Copies]:
    """Make a template on the server of this URL, migrated unless it is none of ours.

    It begins as a copy of the database ``origin``, or empty. Where somebody is connected to that,
    so that the server cannot copy it, it is made of a dump, without owners and privileges. All is
    dropped at the end; what a killed owner of the same ``prefix`` has left there is dropped first.
    Raises DatabaseError, also when the user may not make databases.
    """
    connection = await connect(server.with_name("postgres"), application_name=prefix)
    copies = Copies(connection, server, prefix)
    try:
        try:
            await copies.begin(origin)
            if migrate:
                await ensure_schema(copies.template)
            yield copies
        finally:
            with anyio.CancelScope(shield=True):
                await copies.end()
    finally:
        await close(copies.connection)


@contextmanager
def _left_to_the_next() -> Iterator[None]:
    """Leave what cannot be dropped to the next one: it is no failure of what was done with it."""
    try:
        yield
    except DatabaseError as error:
        log.warning("database.not_dropped", error=str(error))


def _signed(text: str) -> int:
    return zlib.crc32(text.encode()) - 2**31
