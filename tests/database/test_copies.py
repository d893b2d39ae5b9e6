"""Throwaway databases are dropped whoever is connected to them."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from structlog.testing import capture_logs

from aexp.database import DatabaseUrl
from aexp.database.connect import close, connect, connected
from aexp.database.copies import Copies, open_copies
from tests.support.cli import eventually

PREFIX = "aexp_test_copies"
# It takes autovacuum minutes, in which it may be interrupted.
VACUUMED = """
    CREATE TABLE vacuumed WITH (
        autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0,
        autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1
    ) AS SELECT generate_series(1, 100000);
    DELETE FROM vacuumed
"""
AUTOVACUUM = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = %s AND backend_type = 'autovacuum worker'"
)


@pytest.fixture
def root(server: DatabaseUrl) -> Iterator[psycopg.Connection]:
    """The server's superuser, while its autovacuum looks round often."""
    with psycopg.connect(server.with_name("postgres").libpq, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET autovacuum_naptime = 1")
        connection.execute("SELECT pg_reload_conf()")
        yield connection
        connection.execute("ALTER SYSTEM RESET autovacuum_naptime")
        connection.execute("SELECT pg_reload_conf()")


@pytest.fixture
def common_user(server: DatabaseUrl, root: psycopg.Connection) -> Iterator[DatabaseUrl]:
    """Somebody who may make databases, and may not end what the server does by itself."""
    root.execute("CREATE ROLE vacuumed LOGIN CREATEDB")
    yield DatabaseUrl(server.parsed.set(username="vacuumed"))
    root.execute("DROP ROLE vacuumed")


@pytest.mark.asyncio
async def test_autovacuum_and_a_session_keep_no_copy(
    common_user: DatabaseUrl, root: psycopg.Connection
) -> None:
    def is_vacuumed(name: str) -> bool:
        row = root.execute(AUTOVACUUM, [name]).fetchone()
        return row is not None and row[0] > 0

    connection = await connect(common_user.with_name("postgres"))
    copies = Copies(connection, common_user, PREFIX)
    try:
        await copies.begin(None)
        async with copies.copy() as copy:
            user = await connect(copy)
            await user.execute(VACUUMED)
            await eventually(lambda: is_vacuumed(copy.name))
        user.terminate()
        await copies.end()
        left = root.execute("SELECT datname FROM pg_database WHERE datname ^@ %s", [PREFIX])
        assert left.fetchall() == []
    finally:
        await close(connection)


@pytest.mark.asyncio
async def test_what_another_user_left_is_dropped_by_who_may(
    common_user: DatabaseUrl, server: DatabaseUrl, root: psycopg.Connection
) -> None:
    left = f"{PREFIX}_0123456789ab_7"
    root.execute(f"CREATE DATABASE {left}".encode())
    for user, remains in ((common_user, True), (server, False)):
        async with open_copies(user, prefix=PREFIX, migrate=False):
            found = root.execute("SELECT 1 FROM pg_database WHERE datname = %s", [left])
            assert (found.fetchone() is not None) is remains


@pytest.mark.asyncio
async def test_a_database_that_somebody_uses_is_copied_from_a_dump(database: DatabaseUrl) -> None:
    with psycopg.connect(database.libpq, autocommit=True) as used:
        used.execute("CREATE TABLE letters (id int GENERATED ALWAYS AS IDENTITY, name text)")
        used.execute("INSERT INTO letters (name) VALUES ('a'), ('b')")
        used.execute("BEGIN")
        used.execute("INSERT INTO letters (name) VALUES ('not yet')")
        with capture_logs() as logged:
            async with (
                open_copies(database, prefix=PREFIX, origin=database.name) as copies,
                copies.copy() as copy,
                connected(copy) as connection,
            ):
                rows = await connection.fetch("SELECT id, name FROM letters ORDER BY id")
                last = await connection.fetchval("SELECT nextval('letters_id_seq')")
        used.execute("ROLLBACK")
    assert [tuple(row) for row in rows] == [(1, "a"), (2, "b")]
    assert last > 2
    assert [line["event"] for line in logged] == ["database.copied_in_use"]


@pytest.mark.asyncio
async def test_a_database_that_nobody_uses_is_copied_by_its_server(database: DatabaseUrl) -> None:
    with capture_logs() as logged:
        async with (
            open_copies(database, prefix=PREFIX, origin=database.name) as copies,
            copies.copy() as copy,
            connected(copy) as connection,
        ):
            assert await connection.fetchval("SELECT count(*) FROM aexp.runs") == 0
    assert logged == []
