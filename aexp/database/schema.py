"""The schema: DBOS's tables by DBOS, ours by Alembic, both under one lock.

Ours live in schema ``aexp``, DBOS's in schema ``dbos``, in one database.
"""

from __future__ import annotations

import importlib.metadata
import importlib.resources
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import asyncpg

from aexp.database.connect import Connection, asyncpg_engine, close, connect, connected
from aexp.database.url import DatabaseUrl
from aexp.errors import (
    DatabaseError,
    DatabaseMissing,
    DatabaseNotOurs,
    DatabaseTooNew,
    DatabaseUnreachable,
)

if TYPE_CHECKING:
    import sqlalchemy

__all__ = ["SCHEMA_REVISION", "ensure_schema", "migrations_folder", "require_schema"]

# Head of migrations/: known without importing Alembic, which takes 0.4 s. A test compares them.
SCHEMA_REVISION = "0006"

# One migration at a time in a database. The number only has to be ours: "aexp" in ASCII.
MIGRATION_LOCK = 0x61657870
MIGRATION_LOCK_TIMEOUT_S = 60
MIGRATION_LOCK_POLL_S = 0.05


def migrations_folder() -> Path:
    """Find Alembic's script folder: inside the installed package, or beside it in a checkout."""
    package = Path(str(importlib.resources.files("aexp")))
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


async def _dbos_version() -> str:
    # It reads files.
    return await anyio.to_thread.run_sync(importlib.metadata.version, "dbos")


async def _is_current(connection: Connection) -> bool:
    """Return whether nothing is to be done; raise when the database is not ours or newer."""
    row = await connection.fetchrow(
        "SELECT to_regnamespace('aexp') IS NOT NULL AS schema,"
        " to_regclass('aexp.alembic_version') IS NOT NULL AS versioned"
    )
    assert row is not None
    if not row["versioned"]:
        foreign = await connection.fetchval(
            "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace('aexp')"
            " AND relkind IN ('r', 'p', 'v') LIMIT 1"
        )
        if foreign is not None:
            raise DatabaseNotOurs(
                f"the database has a schema 'aexp' with table {foreign!r} that aexp did not make:"
                " give another database"
            )
        return False
    revision = await connection.fetchval("SELECT version_num FROM aexp.alembic_version")
    if revision is None and await connection.fetchval("SELECT to_regclass('aexp.runs')"):
        raise DatabaseNotOurs(
            "the database has aexp's tables but no revision in aexp.alembic_version:"
            f" restore it, or write {SCHEMA_REVISION} there if you know that to be right"
        )
    if revision is not None and revision > SCHEMA_REVISION:
        raise DatabaseTooNew(
            f"the database is at revision {revision}, this aexp knows {SCHEMA_REVISION}:"
            " install the newer aexp that migrated it"
        )
    if revision != SCHEMA_REVISION:
        return False
    migrated_with = await connection.fetchval(
        "SELECT version FROM aexp.components WHERE name = 'dbos'"
    )
    return bool(migrated_with == await _dbos_version())


async def require_schema(url: DatabaseUrl) -> None:
    """Raise DatabaseError unless the database has this code's schema. Changes nothing."""
    async with connected(url, read_only=True) as connection:
        if not await _is_current(connection):
            raise DatabaseError(
                f"database {url} is not migrated to this version of aexp: run `aexp db migrate`"
            )


async def ensure_schema(url: DatabaseUrl, *, create: bool = False) -> bool:
    """Bring the database to this code's schema; True when anything had to be done.

    With ``create`` the database itself is made when the server has none of that name. Several
    processes may call it at once: one migrates, the others wait for it. Raises DatabaseError.
    """
    try:
        connection = await connect(url)
    except DatabaseMissing:
        if not create:
            raise
        await _create_database(url)
        connection = await connect(url)
    try:
        if await _is_current(connection):
            return False
        await _lock(connection, url)
        if await _is_current(connection):
            return False
        await _migrate(url)
        await connection.execute(
            "INSERT INTO aexp.components (name, version) VALUES ('dbos', $1)"
            " ON CONFLICT (name) DO UPDATE SET version = excluded.version",
            await _dbos_version(),
        )
    except asyncpg.PostgresError as error:
        raise DatabaseError(f"cannot migrate {url}: {error}") from error
    finally:
        await close(connection)
    return True


async def _lock(connection: Connection, url: DatabaseUrl) -> None:
    # Asked again and again rather than waited for: a statement that waits holds a snapshot, and
    # DBOS's CREATE INDEX CONCURRENTLY waits for every older snapshot to go.
    with anyio.move_on_after(MIGRATION_LOCK_TIMEOUT_S):
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", MIGRATION_LOCK):
            await anyio.sleep(MIGRATION_LOCK_POLL_S)
        return
    raise DatabaseError(
        f"another process has been migrating {url} for {MIGRATION_LOCK_TIMEOUT_S} s:"
        " end it, then try again"
    )


async def _create_database(url: DatabaseUrl) -> None:
    quoted = '"' + url.name.replace('"', '""') + '"'
    async with connected(url.with_name("postgres")) as connection:
        try:
            await connection.execute(f"CREATE DATABASE {quoted}")
        except asyncpg.DuplicateDatabaseError:
            # Another process made it in the meantime, which is what was wanted.
            return
        except asyncpg.PostgresError as error:
            raise DatabaseUnreachable(f"cannot make database {url}: {error}") from error


async def _migrate(url: DatabaseUrl) -> None:
    import sqlalchemy  # noqa: PLC0415 - only when there is something to migrate
    from dbos import DBOS, AsyncSQLAlchemyDatasource  # noqa: PLC0415

    try:
        await anyio.to_thread.run_sync(DBOS.migrate, url.libpq)
        await AsyncSQLAlchemyDatasource.migrate(url.libpq)
        await _upgrade(url)
    except sqlalchemy.exc.DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        raise DatabaseError(f"cannot migrate {url}: {reason}") from error


async def _upgrade(url: DatabaseUrl) -> None:
    import alembic.command  # noqa: PLC0415 - 0.4 s, only when there is something to migrate
    import alembic.config  # noqa: PLC0415

    config = alembic.config.Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))

    def upgrade(connection: sqlalchemy.Connection) -> None:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "head")

    engine = asyncpg_engine(url, {"application_name": "aexp migration"})
    try:
        async with engine.begin() as connection:
            await connection.run_sync(upgrade)
    finally:
        await engine.dispose()
