"""What else a client and a server say to each other passes through the proxy unchanged."""

from __future__ import annotations

import asyncio
import select
import struct

import anyio
import asyncpg
import psycopg
import pytest

from aexp.crash.proxy.server import Proxy
from aexp.database import DatabaseUrl
from aexp.errors import DatabaseUnreachable, UsageError
from tests.support.cli import TIMEOUT_S, eventually
from tests.support.proxied import Asyncpg, Psycopg, Recorder, proxied, rows

pytestmark = pytest.mark.asyncio


async def sessions(url: DatabaseUrl, condition: str = "true") -> int:
    """How many others use the database, by the server's account."""
    statement = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        f" AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND {condition}"
    )
    async with await psycopg.AsyncConnection.connect(url.libpq, autocommit=True) as connection:
        cursor = await connection.execute(statement.encode())
        found = await cursor.fetchone()
    assert found is not None
    return int(found[0])


async def none_left(url: DatabaseUrl) -> bool:
    return await sessions(url) == 0


async def one_sleeps(url: DatabaseUrl) -> bool:
    return await sessions(url, "wait_event = 'PgSleep'") == 1


async def test_psycopg_does_all_that_it_can(
    proxy: Proxy, recorder: Recorder, url: DatabaseUrl
) -> None:
    async with await psycopg.AsyncConnection.connect(proxy.url.libpq) as connection:
        connection.prepare_threshold = 0
        cursor = connection.cursor()
        many = [(n,) for n in range(10)]
        await cursor.executemany("INSERT INTO other VALUES (%s) RETURNING n", many, returning=True)
        await connection.commit()
        async with connection.cursor("named") as cursor:
            await cursor.execute("SELECT generate_series(1, 1000)")
            assert len(await cursor.fetchmany(10)) == 10
        async with connection.cursor().copy("COPY item TO STDOUT") as copy:
            assert [row async for row in copy.rows()] == [("100", "w", "1", "old")]
        async with connection.cursor().copy("COPY item (n) FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4"])
            await copy.write_row((1,))
        await connection.commit()
        await connection.set_autocommit(True)
        await connection.execute("LISTEN channel")
        await connection.execute("NOTIFY channel, 'hello'")
        async for notification in connection.notifies(stop_after=1, timeout=30):
            assert notification.payload == "hello"
        sleeping = asyncio.ensure_future(connection.execute("SELECT pg_sleep(60)"))
        await eventually(lambda: one_sleeps(url))
        await connection.cancel_safe()
        with pytest.raises(psycopg.errors.QueryCanceled):
            await sleeping
        async with connection.transaction(), connection.transaction():
            await connection.execute("DELETE FROM other")
    assert recorder.points == ["insert other#1", "copy item#1", "delete other#1"]


async def test_a_copy_by_the_extended_protocol(
    proxy: Proxy, recorder: Recorder, url: DatabaseUrl
) -> None:
    def answer(libpq: psycopg.pq.abc.PGconn) -> psycopg.pq.abc.PGresult | None:
        # To wait within get_result would keep the proxy of this process from its work too.
        while libpq.is_busy():
            select.select([libpq.socket], [], [])
            libpq.consume_input()
        return libpq.get_result()

    # Its first Sync is sent before the server is ready for data, which overhears it.
    def copy(statement: bytes, data: bytes) -> bytes:
        with psycopg.connect(proxy.url.libpq, autocommit=True) as connection:
            libpq = connection.pgconn
            result = libpq.exec_params(statement, None)
            if result.status == psycopg.pq.ExecStatus.COPY_IN:
                libpq.put_copy_data(data)
                libpq.put_copy_end()
                result = answer(libpq) or result
                assert answer(libpq) is None
            connection.execute("INSERT INTO other VALUES (%s)", (1,))
            return result.error_message

    assert await asyncio.to_thread(copy, b"COPY item (n) FROM STDIN", b"1\n2\n") == b""
    assert await asyncio.to_thread(copy, b"COPY item (n) FROM STDIN", b"") == b""
    assert await asyncio.to_thread(copy, b"COPY item (n) FROM STDIN", b"100\n") != b""
    assert await asyncio.to_thread(copy, b"COPY nowhere FROM STDIN", b"") != b""
    assert recorder.points == ["copy item#1", *(f"insert other#{n}" for n in (1, 2, 3, 4))]
    assert rows(url) == [1, 2, 100]


async def test_asyncpg_does_all_that_it_can(
    proxy: Proxy, recorder: Recorder, url: DatabaseUrl
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    connection = await asyncpg.connect(proxy.url.dsn)
    try:
        await connection.add_listener("channel", lambda *given: heard.put_nowait(str(given[-1])))
        await connection.execute("NOTIFY channel, 'hello'")
        assert await heard.get() == "hello"
        insert = await connection.prepare("INSERT INTO other VALUES ($1) RETURNING n")
        async with connection.transaction():
            assert await insert.fetchval(1) == 1
            inner = connection.transaction()
            await inner.start()
            await insert.fetchval(2)
            await inner.rollback()
            numbers = [row[0] async for row in connection.cursor("SELECT generate_series(1, 200)")]
            assert numbers == list(range(1, 201))
        await connection.executemany("INSERT INTO item (n) VALUES ($1)", [(1,), (2,)])
        assert await insert.fetchval(3) == 3
        # Cancelled by a connection of its own.
        with pytest.raises(TimeoutError):
            await connection.execute("SELECT pg_sleep(60)", timeout=0.1)
        assert await connection.fetchval("SELECT sum(n) FROM other") == 4
        await connection.reload_schema_state()
    finally:
        await connection.close(timeout=5)
    assert recorder.points == ["insert other#1", "insert item#1", "insert other#2"]
    await eventually(lambda: none_left(url))


async def test_large_rows_and_copies_pass_whole(proxy: Proxy, url: DatabaseUrl) -> None:
    note = "x" * 3_000_000
    for driver in (await Psycopg.connect(proxy.url), await Asyncpg.connect(proxy.url)):
        await driver.run("TRUNCATE item")
        await driver.copy([(n, note) for n in range(3)])
        await driver.run("INSERT INTO item (n, note) VALUES ($1, $2)", 3, note)
        await driver.run(f"INSERT INTO item (n, note) VALUES (4, '{note}')")
        found = await asyncpg.connect(proxy.url.dsn)
        sizes = [len(row[0]) for row in await found.fetch("SELECT note FROM item")]
        await found.close()
        assert sizes == [len(note)] * 5
        await driver.close()


async def test_a_client_that_does_not_read_holds_the_server_back(
    proxy: Proxy, url: DatabaseUrl
) -> None:
    # Its socket, the proxy's buffers and the server's socket are full, and no more is taken.
    driver = await Psycopg.connect(proxy.url)
    socket = driver.connection.pgconn
    socket.send_query(b"SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
    while socket.flush():
        await asyncio.sleep(0)
    await eventually(lambda: _stuck(url))
    # When it reads again, all of it comes. To wait within get_result, which keeps every thread of
    # this process waiting, would keep the proxy from its work too.
    while socket.is_busy():
        await anyio.wait_readable(socket.socket)
        socket.consume_input()
    found = socket.get_result()
    assert found is not None
    assert {found.get_value(row, 0) for row in range(found.ntuples)} == {b"x" * 1000}
    assert found.ntuples == 20_000
    await driver.close()
    await eventually(lambda: none_left(url))


async def _stuck(url: DatabaseUrl) -> bool:
    return await sessions(url, "wait_event = 'ClientWrite'") == 1


async def test_encryption_is_refused_and_the_session_goes_on(proxy: Proxy) -> None:
    folder, port = proxy.url.parsed.query["host"], proxy.url.parsed.query["port"]
    reader, writer = await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{port}")
    for kind in (80877103, 80877104):
        writer.write(struct.pack("!ii", 8, kind))
        assert await reader.readexactly(1) == b"N"
    body = f"user\0postgres\0database\0{proxy.url.name}\0\0".encode()
    writer.write(struct.pack("!ii", 8 + len(body), 196608) + body)
    assert await reader.readexactly(1) == b"R"
    writer.close()
    await writer.wait_closed()


async def test_a_server_that_ends_the_session_is_heard(proxy: Proxy, url: DatabaseUrl) -> None:
    driver = await Psycopg.connect(proxy.url)
    with psycopg.connect(url.libpq) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    with pytest.raises(psycopg.errors.AdminShutdown):
        await driver.run("SELECT 1")
    await driver.close()


async def test_a_refused_login_is_heard(proxy: Proxy) -> None:
    with pytest.raises(psycopg.OperationalError, match='database "nowhere" does not exist'):
        await psycopg.AsyncConnection.connect(proxy.url.with_name("nowhere").libpq)


async def test_a_client_that_dies_leaves_no_session_and_no_write(
    proxy: Proxy, recorder: Recorder, url: DatabaseUrl
) -> None:
    driver = await Asyncpg.connect(proxy.url)
    await driver.run("BEGIN")
    await driver.run("INSERT INTO item (n) VALUES ($1)", 1)
    driver.connection.terminate()
    await eventually(lambda: none_left(url))
    assert (rows(url), recorder.announced) == ([100], [])


async def test_the_end_of_the_proxy_is_the_end_of_its_connections(url: DatabaseUrl) -> None:
    async with proxied(url, Recorder()) as proxy:
        driver = await Psycopg.connect(proxy.url)
        await driver.run("BEGIN")
        await driver.run("INSERT INTO item (n) VALUES ($1)", 1)
    await eventually(lambda: none_left(url))
    with pytest.raises(psycopg.OperationalError):
        await driver.run("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        await Psycopg.connect(proxy.url)
    assert rows(url) == [100]


class Confused(Recorder):
    """An observer that does not know what to do."""

    async def before(self, write: object) -> bool:
        raise LookupError("no such point")


async def test_what_an_observer_raises_is_not_lost(url: DatabaseUrl) -> None:
    with pytest.RaisesGroup(LookupError, flatten_subgroups=True):
        async with proxied(url, Confused()) as proxy:
            driver = await Psycopg.connect(proxy.url)
            with pytest.raises(psycopg.OperationalError):
                await driver.run("INSERT INTO item (n) VALUES ($1)", 1)
            with anyio.fail_after(TIMEOUT_S):
                await anyio.sleep_forever()


async def test_it_says_what_it_cannot_be_put_before(url: DatabaseUrl, server: DatabaseUrl) -> None:
    with pytest.raises(DatabaseUnreachable, match="does not exist"):
        async with proxied(server.with_name("nowhere"), Recorder()):
            pass
    with pytest.raises(UsageError, match="TLS"):
        async with proxied(DatabaseUrl.parse("postgresql://h/d?sslmode=require"), Recorder()):
            pass
