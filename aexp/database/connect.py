"""Connections: one asyncpg pool for our own statements, one SQLAlchemy engine for DBOS's
datasource, both made from the same URL.
"""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import asyncpg
import psycopg
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from aexp.database.cluster import home_of_socket
from aexp.database.retry import retry_on_disconnect
from aexp.database.url import DatabaseUrl
from aexp.errors import (
    DatabaseError,
    DatabaseMissing,
    DatabaseReadOnly,
    DatabaseTooOld,
    DatabaseUnreachable,
)

__all__ = [
    "Connection",
    "Database",
    "Queryable",
    "alive_when_used",
    "asyncpg_engine",
    "borrowed",
    "close",
    "connect",
    "connected",
    "open_database",
    "psycopg_engine",
    "refusals_told",
    "retry_on_disconnect",
]

OLDEST_SERVER = 14
CLOSE_TIMEOUT_S = 3.0
# A connection that was used so lately is taken to be alive unless its socket says otherwise.
_SURELY_ALIVE_S = 5.0

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
    # What takes a statement by itself.
    Queryable: TypeAlias = Connection | asyncpg.Pool[asyncpg.Record]
else:
    # Generic in its stubs only.
    Connection = asyncpg.Connection
    Queryable = Connection | asyncpg.Pool


@dataclass(frozen=True, slots=True)
class Database:
    """An open database.

    ``pool`` runs our own statements, each its own transaction; JSON columns are Python values.
    ``engine`` is what DBOS's datasource commits through.
    """

    url: DatabaseUrl
    pool: asyncpg.Pool[asyncpg.Record]
    engine: AsyncEngine


_KEEPALIVES = (
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
)


async def _decode_json(connection: Connection) -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(
            name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
        )


async def connect(
    url: DatabaseUrl, *, application_name: str = "aexp", read_only: bool = False
) -> Connection:
    """Open one connection to a server that is fit for aexp.

    Raises DatabaseUnreachable, DatabaseMissing, DatabaseTooOld, or, unless ``read_only`` will do,
    DatabaseReadOnly.
    """
    try:
        connection: Connection = await asyncpg.connect(
            url.dsn,
            timeout=url.connect_timeout_s,
            server_settings={"application_name": application_name},
        )
    except asyncpg.InvalidCatalogNameError as error:
        raise DatabaseMissing(
            f"cannot use database {url}: the server has no database {url.name!r}: correct the name,"
            " or make it by `aexp db migrate --create`"
        ) from error
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseUnreachable(_unreachable(url, error)) from error
    try:
        await _check_server(url, connection, read_only=read_only)
        await _decode_json(connection)
        # Where a host is lost with what it holds, the server would notice after two hours. As a
        # statement, since a pooler refuses what it does not know of at the start.
        await connection.execute(_KEEPALIVES)
    except BaseException:
        await close(connection)
        raise
    return connection


@asynccontextmanager
async def connected(url: DatabaseUrl, *, read_only: bool = False) -> AsyncIterator[Connection]:
    """Open a connection, as by :func:`connect`, for the life of the context."""
    connection = await connect(url, read_only=read_only)
    try:
        yield connection
    finally:
        await close(connection)


@asynccontextmanager
async def borrowed(pool: asyncpg.Pool[asyncpg.Record]) -> AsyncIterator[Connection]:
    """Borrow a connection of ``pool`` for the life of the context."""
    async with pool.acquire() as proxy:
        # It does all that a connection does, though its stubs say otherwise.
        connection: Any = proxy
        yield connection


def _unreachable(url: DatabaseUrl, error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        reason = f"no answer within {url.connect_timeout_s:g} s"
    elif isinstance(error, socket.gaierror):
        reason = "its host name is unknown"
    elif isinstance(error, (ConnectionRefusedError, FileNotFoundError)):
        home = None if url.socket_folder is None else home_of_socket(url.socket_folder)
        reason = (
            "no server listens there: start it, or correct the URL"
            if home is None
            else f"that embedded server is not running: `aexp db start --home {home}` starts it"
        )
    else:
        reason = " ".join(str(error).split()) or type(error).__name__
    return f"cannot use database {url}: {reason}"


async def _check_server(url: DatabaseUrl, connection: Connection, *, read_only: bool) -> None:
    row = await connection.fetchrow(
        "SELECT current_setting('server_version_num')::int AS version,"
        " pg_is_in_recovery() AS standby,"
        " current_setting('transaction_read_only')::bool AS read_only"
    )
    assert row is not None
    if row["version"] < OLDEST_SERVER * 10_000:
        raise DatabaseTooOld(
            f"database {url} is PostgreSQL {row['version'] // 10_000}:"
            f" aexp needs {OLDEST_SERVER} or newer"
        )
    if (row["standby"] or row["read_only"]) and not read_only:
        what = "a standby" if row["standby"] else "read-only"
        raise DatabaseReadOnly(f"database {url} is {what}: give the URL of one that takes writes")


def asyncpg_engine(
    url: DatabaseUrl, server_settings: Mapping[str, str], **options: Any
) -> AsyncEngine:
    """Make a SQLAlchemy engine whose connections asyncpg itself makes from the URL, so that the
    same options mean the same everywhere. ``options`` go to create_async_engine.

    It waits for a server that takes no connection: a transaction whose commit is in doubt can only
    be looked up over a new one.
    """

    async def dial(*_args: Any, **_kwargs: Any) -> Connection:
        return await retry_on_disconnect(
            lambda: asyncpg.connect(
                url.dsn, timeout=url.connect_timeout_s, server_settings=dict(server_settings)
            )
        )

    return create_async_engine("postgresql+asyncpg://", async_creator=dial, **options)


def psycopg_engine(url: DatabaseUrl, **options: Any) -> sqlalchemy.Engine:
    """Make a synchronous SQLAlchemy engine, as DBOS's own client takes it. ``options`` go to
    create_engine.
    """
    return sqlalchemy.create_engine(
        sqlalchemy.make_url(url.libpq).set(drivername="postgresql+psycopg"),
        **{**alive_when_used(), **options},
    )


def alive_when_used() -> dict[str, Any]:
    """Return options of a psycopg engine that gives out no connection which the server has ended.

    SQLAlchemy's ``pool_pre_ping`` asks the server each time, a round trip more for each
    transaction. Here it is asked when the connection was idle for some seconds, and when its socket
    has something to read: that is how the server says that it has ended it.
    """
    return {
        "pool_pre_ping": False,
        "pool_events": [(_check_alive, "checkout"), (_note_use, "checkin")],
    }


def _note_use(_connection: Any, record: sqlalchemy.pool.ConnectionPoolEntry) -> None:
    record.info["used_at"] = time.monotonic()


def _check_alive(
    connection: psycopg.Connection,
    record: sqlalchemy.pool.ConnectionPoolEntry,
    _proxy: sqlalchemy.PoolProxiedConnection,
) -> None:
    used_at = record.info.get("used_at")
    if used_at is None or (time.monotonic() - used_at < _SURELY_ALIVE_S and _is_quiet(connection)):
        return
    try:
        connection.execute("SELECT 1")
        connection.rollback()
    except psycopg.Error as error:
        # Its neighbours are as old: the pool makes new ones.
        raise sqlalchemy.exc.InvalidatePoolError from error


def _is_quiet(connection: psycopg.Connection) -> bool:
    poll = select.poll()
    try:
        poll.register(connection.fileno(), select.POLLIN)
    except psycopg.Error:
        # Closed on our side.
        return False
    return not poll.poll(0)


@asynccontextmanager
async def open_database(
    url: DatabaseUrl, *, application_name: str, pool_size: int
) -> AsyncIterator[Database]:
    """Open ``url`` for the life of the context.

    At most ``pool_size`` connections for the datasource and half as many for our own statements.
    """
    server_settings = {"application_name": application_name}
    engine = asyncpg_engine(url, server_settings, pool_size=pool_size, max_overflow=0)
    pool = await asyncpg.create_pool(
        url.dsn,
        min_size=1,
        max_size=max(2, pool_size // 2),
        timeout=url.connect_timeout_s,
        server_settings=server_settings,
        init=_decode_json,
    )
    try:
        yield Database(url=url, pool=pool, engine=engine)
    finally:
        # Shielded, and bounded: a task that was cut off may never give its connection back.
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(CLOSE_TIMEOUT_S):
                await pool.close()
            pool.terminate()
            await engine.dispose()


async def close(connection: Connection) -> None:
    """Close ``connection``, even if the caller is being cancelled."""
    with anyio.CancelScope(shield=True):
        await connection.close(timeout=CLOSE_TIMEOUT_S)


@contextmanager
def refusals_told(url: DatabaseUrl) -> Iterator[None]:
    """Raise DatabaseError for what PostgreSQL refuses in the context, or when it has gone."""
    try:
        yield
    except (
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
        ConnectionError,
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatabaseError(f"database {url} refuses: {reason}") from error
