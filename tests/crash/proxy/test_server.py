"""The proxy sees every durable write of both drivers, and can cut each of them off."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg
import psycopg
import pytest
import pytest_asyncio

from aexp.crash.proxy.server import Proxy
from aexp.database import DatabaseUrl
from tests.support.proxied import Asyncpg, Driver, Psycopg, Recorder, rows

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture(params=[Psycopg, Asyncpg])
async def driver(request: pytest.FixtureRequest, proxy: Proxy) -> AsyncIterator[Driver]:
    driver: Driver = await request.param.connect(proxy.url)
    yield driver
    # It may have been cut off, which is an error on the way out to some.
    with suppress(*driver.lost):
        await driver.close()


Story = Callable[[Driver], Awaitable[None]]


def story(*statements: str | tuple[Any, ...]) -> Story:
    """Statements one after another; those that the server refuses are meant to be refused."""

    async def tell(driver: Driver) -> None:
        for statement in statements:
            sql, *values = (statement,) if isinstance(statement, str) else statement
            with suppress(psycopg.DataError, psycopg.IntegrityError, psycopg.InternalError,
                          asyncpg.PostgresError):  # fmt: skip
                await driver.run(sql, *values)

    return tell


async def copies(driver: Driver) -> None:
    await driver.copy([(1, "a"), (2, "b")])


async def copies_nothing(driver: Driver) -> None:
    await driver.copy([])


async def copies_in_a_transaction(driver: Driver) -> None:
    await driver.run("BEGIN")
    await driver.copy([(1, "a")])
    await driver.run("INSERT INTO other VALUES ($1)", 1)
    await driver.run("COMMIT")


async def copy_is_refused(driver: Driver) -> None:
    with suppress(psycopg.IntegrityError, asyncpg.UniqueViolationError):
        await driver.copy([(100, "it is there already")])
    await driver.run("INSERT INTO item (n) VALUES ($1)", 1)


INSERT = ("INSERT INTO item (n, workflow_uuid, function_id) VALUES ($1, $2, $3)", 1, "w.1", 7)
ITEM = "insert item [~.1:7]"
PLAIN = ("INSERT INTO item (n) VALUES ($1)", 2)


@pytest.mark.parametrize(
    ("told", "points"),
    [
        pytest.param(story(INSERT), [f"{ITEM}#1"], id="autocommit"),
        pytest.param(
            story(INSERT, ("DELETE FROM item WHERE n = $1", 1), INSERT),
            [f"{ITEM}#1", "delete item#1", f"{ITEM}#2"],
            id="again",
        ),
        pytest.param(story("INSERT INTO item (n) VALUES (1)"), ["insert item#1"], id="simple"),
        pytest.param(
            story("BEGIN", INSERT, PLAIN, ("INSERT INTO other VALUES ($1)", 1), "COMMIT"),
            ["insert item + insert other [~.1:7]#1"],
            id="transaction",
        ),
        pytest.param(
            story("BEGIN", ("SELECT * FROM item WHERE n = $1 FOR UPDATE", 100), "COMMIT"),
            [],
            id="locks",
        ),
        pytest.param(
            story("SELECT pg_advisory_lock(1)", "SELECT pg_notify('c', 'x')", "NOTIFY c"),
            [],
            id="notifications",
        ),
        pytest.param(
            story(("UPDATE item SET note = $1 WHERE n = $2", "x", 5), INSERT),
            [f"{ITEM}#1"],
            id="no rows",
        ),
        pytest.param(story("UPDATE item SET note = 'x' WHERE n = 5"), [], id="simple, no rows"),
        pytest.param(
            story("BEGIN", "DELETE FROM item WHERE n = 5", "COMMIT"), [], id="none in a block"
        ),
        pytest.param(
            story(("INSERT INTO item (n) VALUES ($1) ON CONFLICT DO NOTHING", 100)),
            [],
            id="conflict",
        ),
        pytest.param(story("BEGIN", INSERT, "ROLLBACK", PLAIN), ["insert item#1"], id="rollback"),
        pytest.param(
            story("BEGIN", INSERT, "SELECT 1/0", PLAIN, "COMMIT", PLAIN),
            ["insert item#1"],
            id="failed",
        ),
        pytest.param(story(INSERT, INSERT), [f"{ITEM}#1"], id="refused"),
        pytest.param(
            story(
                "BEGIN", PLAIN, "SAVEPOINT s", INSERT, "ROLLBACK TO s", "RELEASE s", "COMMIT"
            ),
            ["insert item#1"],
            id="back to a savepoint",
        ),
        pytest.param(
            story("BEGIN", "SAVEPOINT s", INSERT, "RELEASE s", "COMMIT"),
            [f"{ITEM}#1"],
            id="savepoint",
        ),
        pytest.param(
            story("BEGIN", "SAVEPOINT s", INSERT, "ROLLBACK TO s", "COMMIT"), [], id="nothing left"
        ),
        pytest.param(
            story("BEGIN", PLAIN, "SAVEPOINT s", "SELECT 1/0", "ROLLBACK TO s", "COMMIT"),
            ["insert item#1"],
            id="saved by a savepoint",
        ),
        pytest.param(
            story(("WITH x AS (DELETE FROM item WHERE n = $1 RETURNING n) SELECT n FROM x", 100)),
            ["delete item#1"],
            id="with",
        ),
        pytest.param(
            story("INSERT INTO item (n) VALUES (1); INSERT INTO other VALUES (1)"),
            ["insert item + insert other#1"],
            id="several in one query",
        ),
        pytest.param(
            story("BEGIN; INSERT INTO item (n) VALUES (1); COMMIT; SELECT 1"),
            ["insert item#1"],
            id="a transaction in one query",
        ),
        pytest.param(
            story("INSERT INTO item (n) VALUES (1); SELECT 1/0"), [], id="fails in one query"
        ),
        pytest.param(story("CREATE TABLE more (a int)"), ["create table more#1"], id="tables"),
        pytest.param(
            story("DO $$ BEGIN INSERT INTO other VALUES (1); END $$"), ["do#1"], id="do"
        ),
        pytest.param(copies, ["copy item#1"], id="copy"),
        pytest.param(copies_nothing, [], id="copy of nothing"),
        pytest.param(
            copies_in_a_transaction, ["copy item + insert other#1"], id="copy in a transaction"
        ),
        pytest.param(copy_is_refused, ["insert item#1"], id="copy refused"),
    ],
)  # fmt: skip
async def test_both_drivers_write_what_is_seen(
    driver: Driver, recorder: Recorder, told: Story, points: list[str]
) -> None:
    await told(driver)
    assert recorder.points == points
    # In order, but for what turned out to write nothing.
    announced = [write for write in recorder.announced if write in recorder.durable]
    assert announced == recorder.durable
    await driver.run("SELECT 1")


@pytest.mark.parametrize("statement", [INSERT, ("INSERT INTO item (n) VALUES (1)",)])
@pytest.mark.parametrize("block", [False, True])
@pytest.mark.parametrize("side", ["before", "after"])
async def test_a_write_is_cut_off(
    driver: Driver,
    recorder: Recorder,
    url: DatabaseUrl,
    side: str,
    block: bool,
    statement: tuple[Any, ...],
) -> None:
    recorder.side = side
    recorder.point = f"{ITEM}#1" if statement is INSERT else "insert item#1"

    async def write() -> None:
        if block:
            await driver.run("BEGIN")
        await driver.run(*statement)
        if block:
            await driver.run("COMMIT")

    with pytest.raises(driver.lost):
        await write()
    assert rows(url) == ([1, 100] if side == "after" else [100])
    with pytest.raises(driver.lost):
        await driver.run("SELECT 1")


@pytest.mark.parametrize("side", ["before", "after"])
async def test_a_copy_is_cut_off(
    driver: Driver, recorder: Recorder, url: DatabaseUrl, side: str
) -> None:
    recorder.side, recorder.point = side, "copy item#1"
    with pytest.raises(driver.lost):
        await copies(driver)
    assert rows(url) == ([1, 2, 100] if side == "after" else [100])


async def test_what_never_arrived_is_not_counted(proxy: Proxy, recorder: Recorder) -> None:
    recorder.side, recorder.point = "before", f"{ITEM}#1"
    driver = await Asyncpg.connect(proxy.url)
    with pytest.raises(Asyncpg.lost):
        await driver.run(*INSERT)
    recorder.point = ""
    driver = await Asyncpg.connect(proxy.url)
    await driver.run(*INSERT)
    assert recorder.points == [f"{ITEM}#1"]
    assert proxy.connections == 2
    await driver.close()


async def test_a_pipeline_outside_a_transaction_is_one_write(
    proxy: Proxy, recorder: Recorder, url: DatabaseUrl
) -> None:
    driver = await Psycopg.connect(proxy.url)
    async with driver.connection.pipeline() as pipeline:
        await driver.run(*INSERT)
        await driver.run("INSERT INTO other VALUES ($1)", 1)
        await pipeline.sync()
        await driver.run(*PLAIN)
    assert recorder.points == ["insert item + insert other [~.1:7]#1", "insert item#1"]
    recorder.side, recorder.point = "before", "insert other#1"

    async def pipeline_again() -> None:
        async with driver.connection.pipeline():
            await driver.run("INSERT INTO other VALUES ($1)", 2)
            await driver.run("INSERT INTO other VALUES ($1)", 3)

    with pytest.raises(Psycopg.lost):
        await pipeline_again()
    assert rows(url) == [1, 2, 100]


async def test_transactions_in_a_pipeline_are_told_apart(proxy: Proxy, recorder: Recorder) -> None:
    driver = await Psycopg.connect(proxy.url)
    async with driver.connection.pipeline():
        for n in (1, 2):
            await driver.run("BEGIN")
            await driver.run("INSERT INTO item (n) VALUES ($1)", n)
            await driver.run("COMMIT")
        await driver.run("BEGIN")
        await driver.run("UPDATE item SET note = 'x' WHERE n = $1", 5)
        await driver.run("COMMIT")
    assert recorder.points == ["insert item#1", "insert item#2"]
    with suppress(psycopg.Error):
        async with driver.connection.pipeline():
            await driver.run(*PLAIN)
            await driver.run("INSERT INTO other VALUES ($1)", 1)
    await driver.run("INSERT INTO other VALUES ($1)", 2)
    assert recorder.points[2:] == ["insert other#1"]
    await driver.close()
