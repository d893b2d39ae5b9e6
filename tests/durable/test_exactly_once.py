"""A step whose writes and checkpoint are one commit, when the connection goes in the middle."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import asyncpg
import asyncpg.transaction
import pytest
import pytest_asyncio
from dbos import DBOS, SetWorkflowID
from sqlalchemy.exc import DBAPIError

from aexp.database import DatabaseUrl
from aexp.database.connect import Connection
from aexp.database.retry import is_connection_error
from aexp.durable.exactly_once import CommitInDoubt, Transaction, exactly_once
from aexp.engine.runtime import Runtime, current_runtime, open_runtime
from aexp.settings import Settings

REFUSALS = [
    ConnectionRefusedError("refused"),
    TimeoutError(),
    asyncpg.CannotConnectNowError("the database system is starting up"),
    asyncpg.TooManyConnectionsError("sorry, too many clients already"),
]


@DBOS.workflow(name="test.write_once")
async def write_once() -> int:
    async def write(transaction: Transaction) -> int:
        connection = await transaction.connection()
        await connection.execute(
            "INSERT INTO aexp.events (run_id, event, pid, data) VALUES ('t', 'written', 1, '{}')"
        )
        return transaction.attempt

    return await exactly_once(current_runtime(), "write", write)


OWN_ERRORS = [FileNotFoundError("no such file: rates.csv"), TimeoutError(), OSError("disk full")]
attempts: list[int] = []


@DBOS.workflow(name="test.fail")
async def fail(which: int) -> None:
    async def write(transaction: Transaction) -> None:
        await transaction.connection()
        attempts.append(transaction.attempt)
        raise OWN_ERRORS[which]

    await exactly_once(current_runtime(), "write", write)


@pytest_asyncio.fixture
async def runtime(database: DatabaseUrl) -> AsyncIterator[Runtime]:
    settings = Settings(poll_interval_s=0.02, drain_timeout_s=0.5)
    async with open_runtime(settings, database, scope="test") as runtime:
        yield runtime


class LostCommit:
    """The first commit is made, its acknowledgement is lost, and then connections are refused."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refusal: Exception, times: int) -> None:
        self.lost = False
        self.refusals_left = times
        commit = asyncpg.transaction.Transaction.commit
        connect = asyncpg.connect

        async def losing(transaction: Any) -> None:
            await commit(transaction)
            if not self.lost:
                self.lost = True
                transaction._connection.terminate()
                raise asyncpg.ConnectionDoesNotExistError("closed in the middle of operation")

        async def refusing(*arguments: Any, **options: Any) -> Any:
            if self.lost and self.refusals_left:
                self.refusals_left -= 1
                raise refusal
            return await connect(*arguments, **options)

        monkeypatch.setattr(asyncpg.transaction.Transaction, "commit", losing)
        monkeypatch.setattr(asyncpg, "connect", refusing)


async def written(connection: Connection) -> int:
    count: int = await connection.fetchval("SELECT count(*) FROM aexp.events WHERE run_id = 't'")
    return count


@pytest.mark.asyncio
@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda error: type(error).__name__)
async def test_a_commit_that_nobody_heard_of_is_not_made_again(
    runtime: Runtime,
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
    refusal: Exception,
) -> None:
    fault = LostCommit(monkeypatch, refusal, times=3)

    with SetWorkflowID("w"):
        assert await write_once() == 1

    assert fault.lost
    assert fault.refusals_left == 0
    assert await written(connection) == 1


@pytest.mark.asyncio
async def test_a_commit_that_stays_in_doubt_is_an_error_and_not_another_attempt(
    runtime: Runtime, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aexp.database.retry.PATIENCE_S", 0.1)
    LostCommit(monkeypatch, ConnectionRefusedError("refused"), times=20)

    with SetWorkflowID("w"), anyio.fail_after(60), pytest.raises(CommitInDoubt, match="'write'"):
        await write_once()

    assert await written(connection) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("which", range(len(OWN_ERRORS)))
async def test_an_error_of_the_bodys_own_is_no_lost_connection(
    runtime: Runtime, connection: Connection, which: int
) -> None:
    attempts.clear()

    with SetWorkflowID("w"), anyio.fail_after(60), pytest.raises(type(OWN_ERRORS[which])):
        await fail(which)

    assert attempts == [1]


def test_the_error_of_the_driver_is_seen_behind_that_of_sqlalchemy() -> None:
    adapted = Exception("adapted")
    adapted.__cause__ = asyncpg.CannotConnectNowError("starting up")
    other = Exception("adapted")
    other.__cause__ = asyncpg.UniqueViolationError("twice")

    assert is_connection_error(DBAPIError("SELECT 1", None, adapted))
    assert not is_connection_error(DBAPIError("SELECT 1", None, other))
