"""A proxy that remembers what it saw and may cut a write off; two drivers to go through it."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import asyncpg
import psycopg

from aexp.crash.proxy.server import Proxy, find_server, open_proxy
from aexp.crash.proxy.writes import Write
from aexp.database import DatabaseUrl

_TABLES = """
    CREATE TABLE item (n integer PRIMARY KEY, workflow_uuid text, function_id integer, note text);
    CREATE TABLE other (n integer);
    INSERT INTO item VALUES (100, 'w', 1, 'old')
"""


def with_items(url: DatabaseUrl) -> DatabaseUrl:
    """``url`` with two tables in it, one row in the first."""
    with psycopg.connect(url.libpq, autocommit=True) as connection:
        connection.execute(_TABLES)
    return url


def rows(url: DatabaseUrl) -> list[int]:
    """The keys in the table, asked for without the proxy."""
    with psycopg.connect(url.libpq) as connection:
        return [n for (n,) in connection.execute("SELECT n FROM item ORDER BY n")]


@dataclass
class Recorder:
    """Lets all pass but the write at ``point``, which is cut off on ``side``."""

    point: str = ""
    side: str = ""
    announced: list[Write] = field(default_factory=list)
    durable: list[Write] = field(default_factory=list)

    async def before(self, write: Write) -> bool:
        self.announced.append(write)
        await anyio.lowlevel.checkpoint()
        return (self.side, self.point) != ("before", write.point)

    async def after(self, write: Write) -> bool:
        self.durable.append(write)
        await anyio.lowlevel.checkpoint()
        return (self.side, self.point) != ("after", write.point)

    @property
    def points(self) -> list[str]:
        """The durable writes, in order."""
        return [write.point for write in self.durable]

    @property
    def tables(self) -> Counter[frozenset[str]]:
        """How many durable writes there were to each set of tables."""
        return Counter(
            frozenset(part.split()[1] for part in write.name.split(" + ")) for write in self.durable
        )


@asynccontextmanager
async def proxied(
    url: DatabaseUrl, recorder: Recorder, *, run_id: str | None = None
) -> AsyncIterator[Proxy]:
    """A proxy to ``url`` in a folder of its own."""
    # Not pytest's, whose paths are longer than a socket's may be.
    with tempfile.TemporaryDirectory(prefix="aexp-") as folder:
        server = await find_server(url)
        async with open_proxy(url, Path(folder), recorder, server=server, run_id=run_id) as proxy:
            yield proxy


@asynccontextmanager
async def in_its_own_task(
    context: AbstractAsyncContextManager[Proxy],
) -> AsyncIterator[Proxy]:
    """``context`` for a fixture, whose two halves run in different tasks, as no task group may."""
    opened: asyncio.Future[Proxy] = asyncio.get_running_loop().create_future()
    ended = asyncio.Event()

    async def live() -> None:
        async with context as proxy:
            opened.set_result(proxy)
            await ended.wait()

    life = asyncio.ensure_future(live())
    either: list[asyncio.Future[Any]] = [opened, life]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if life.done():
        await life
    yield opened.result()
    ended.set()
    await life


class Psycopg:
    """psycopg 3, as DBOS uses it."""

    lost = (psycopg.OperationalError,)

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self.connection = connection

    @classmethod
    async def connect(cls, url: DatabaseUrl) -> Psycopg:
        connection = await psycopg.AsyncConnection.connect(
            url.libpq, autocommit=True, application_name="mine"
        )
        return cls(connection)

    async def run(self, sql: str, *values: Any) -> None:
        """With values the extended protocol, without them a simple query."""
        for at in range(len(values), 0, -1):
            sql = sql.replace(f"${at}", "%s")
        await self.connection.execute(sql.encode(), values or None)

    async def copy(self, records: list[tuple[Any, ...]]) -> None:
        async with self.connection.cursor().copy("COPY item (n, note) FROM STDIN") as copy:
            for record in records:
                await copy.write_row(record)

    async def close(self) -> None:
        await self.connection.close()


class Asyncpg:
    """asyncpg, as aexp and its datasource use it."""

    lost = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError)

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self.connection = connection

    @classmethod
    async def connect(cls, url: DatabaseUrl) -> Asyncpg:
        settings = {"application_name": "mine"}
        return cls(await asyncpg.connect(url.dsn, server_settings=settings))

    async def run(self, sql: str, *values: Any) -> None:
        """With values the extended protocol, without them a simple query."""
        await self.connection.execute(sql, *values)

    async def copy(self, records: list[tuple[Any, ...]]) -> None:
        await self.connection.copy_records_to_table("item", records=records, columns=["n", "note"])

    async def close(self) -> None:
        await self.connection.close(timeout=5)


Driver = Psycopg | Asyncpg
