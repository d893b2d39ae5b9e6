"""What the proxy sees is what became durable by the server's own account, its write-ahead log."""

from __future__ import annotations

import json
import os
import random
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import psycopg
import pytest

from aexp.database import DatabaseUrl
from tests.support.proxied import Asyncpg, Driver, Psycopg, Recorder, proxied, with_items
from tests.support.wal import durable

pytestmark = pytest.mark.asyncio

STEPS = 80
BLOCKS = ("BEGIN", "COMMIT", "COMMIT", "ROLLBACK", "SAVEPOINT s", "ROLLBACK TO s", "RELEASE s")
STATEMENTS: tuple[tuple[Any, ...], ...] = (
    ("INSERT INTO other VALUES ($1)", 1),
    ("INSERT INTO other VALUES (2)",),
    ("INSERT INTO item (n) VALUES ($1) ON CONFLICT DO NOTHING", 100),
    ("INSERT INTO item (n) VALUES (100)",),
    ("UPDATE item SET note = $1", "x"),
    ("UPDATE item SET note = $1 WHERE n = $2", "x", -1),
    ("DELETE FROM item WHERE n = -1",),
    ("DELETE FROM item WHERE n < $1", 50),
    ("WITH x AS (INSERT INTO other VALUES ($1) RETURNING n) SELECT n FROM x", 3),
    ("SELECT * FROM item WHERE n = $1 FOR UPDATE", 100),
    ("SELECT pg_notify('c', 'x')",),
    ("SELECT 1/0",),
    ("INSERT INTO other VALUES (4); UPDATE item SET note = 'y'",),
    ("INSERT INTO other VALUES (5); SELECT 1/0",),
)


async def wander(driver: Driver, choose: random.Random) -> None:
    """Do ``STEPS`` things, of which the server refuses some."""
    for number in range(STEPS):
        try:
            if choose.random() < 0.1:
                await driver.copy([(number, "a")])
            elif choose.random() < 0.4:
                await driver.run(choose.choice(BLOCKS))
            else:
                await driver.run(*choose.choice(STATEMENTS))
        except (psycopg.Error, asyncpg.PostgresError) as error:
            if error.sqlstate is None:  # not the server's
                raise


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("connect", [Psycopg.connect, Asyncpg.connect])
async def test_whatever_a_session_does(
    empty_database: DatabaseUrl, connect: Callable[[DatabaseUrl], Any], seed: int
) -> None:
    url = with_items(empty_database)
    recorder = Recorder()
    choose = random.Random(seed)
    with durable(url) as account:
        async with proxied(url, recorder) as proxy:
            driver = await connect(proxy.url)
            await wander(driver, choose)
            await driver.close()
    assert sum(account.commits.values()) > 3
    assert seen(recorder) == account.commits


def seen(recorder: Recorder) -> Counter[frozenset[str]]:
    """The durable writes by the tables that they changed, with their schemas."""
    return Counter(
        {
            frozenset(table if "." in table else f"public.{table}" for table in tables): count
            for tables, count in recorder.tables.items()
        }
    )


async def test_a_pipeline_is_no_way_around(empty_database: DatabaseUrl) -> None:
    url = with_items(empty_database)
    recorder = Recorder()
    choose = random.Random(1)
    with durable(url) as account:
        async with proxied(url, recorder) as proxy:
            driver = await Psycopg.connect(proxy.url)
            for _ in range(20):
                try:
                    async with driver.connection.pipeline() as pipeline:
                        for _ in range(choose.randint(1, 8)):
                            statement = choose.choice([*STATEMENTS[:-2], ("BEGIN",), ("COMMIT",)])
                            await driver.run(*statement)
                            if choose.random() < 0.3:
                                await pipeline.sync()
                except psycopg.Error as error:
                    if error.sqlstate is None:  # not the server's
                        raise
                await driver.run("ROLLBACK")
            await driver.close()
    assert sum(account.commits.values()) > 3
    assert seen(recorder) == account.commits


async def test_a_write_that_goes_round_it_is_missed(empty_database: DatabaseUrl) -> None:
    url = with_items(empty_database)
    recorder = Recorder()
    with durable(url) as account:
        async with proxied(url, recorder) as proxy:
            for way in (url, proxy.url):
                driver = await Psycopg.connect(way)
                await driver.run("INSERT INTO other VALUES ($1)", 1)
                await driver.close()
    assert account.commits == {frozenset({"public.other"}): 2}
    assert seen(recorder) == {frozenset({"public.other"}): 1}


@pytest.mark.one_loop
@pytest.mark.parametrize(
    "arguments",
    [
        ("resume", "--set", "messages=4", "--kills", "2", "--seed", "3"),
        ("nested",),
        ("scope", "--set", "steps=4"),
    ],
    ids=" ".join,
)
@pytest.mark.nightly
async def test_a_whole_run(
    database: DatabaseUrl, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    recorder = Recorder()
    with durable(database) as account:
        async with proxied(database, recorder, run_id="mine") as proxy:
            await run(proxy.url, tmp_path, *arguments)
    assert seen(recorder) == account.commits
    # Nothing is said of a workflow whose workflow is not known.
    assert all(write.bookkeeping or write.workflow_id for write in recorder.durable)


async def run(url: DatabaseUrl, folder: Path, *arguments: str) -> None:
    """``aexp run ARGUMENTS``, to its end in success."""
    command = [sys.executable, "-P", "-m", "aexp", "run", *arguments, "--json", "--run-id", "mine"]
    environment = {**os.environ, "DBOS_SYSTEM_DATABASE_URL": url.libpq}
    done = await anyio.run_process(command, cwd=folder, env=environment, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["status"] == "SUCCESS"
