"""What failed because its connection did, tried again."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import asyncpg
import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from aexp.database import retry
from aexp.database.retry import is_connection_error, retry_on_disconnect
from tests.support.cli import TIMEOUT_S


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_FIRST_PAUSE_S", "_LONGEST_PAUSE_S"):
        monkeypatch.setattr(retry, name, 0.0)


class Failing:
    """An operation that fails as often as there are errors, and then returns how often it ran."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.runs = 0

    async def __call__(self) -> int:
        self.runs += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.runs


@pytest.mark.asyncio
async def test_a_lost_connection_is_waited_out() -> None:
    lost = (ConnectionResetError(), asyncpg.CannotConnectNowError(), psycopg.OperationalError())
    assert await retry_on_disconnect(Failing()) == 1
    assert await retry_on_disconnect(Failing(*lost)) == 1 + len(lost)


@pytest.mark.asyncio
@pytest.mark.parametrize("before", [[], [ConnectionResetError()]])
async def test_another_error_is_raised_at_once(before: list[Exception]) -> None:
    operation = Failing(*before, asyncpg.UniqueViolationError())
    with pytest.raises(asyncpg.UniqueViolationError):
        await retry_on_disconnect(operation)
    assert operation.runs == len(before) + 1


@pytest.mark.asyncio
async def test_the_last_error_is_raised_when_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "PATIENCE_S", 0.01)
    operation = Failing(*[ConnectionResetError(number) for number in range(1_000_000)])
    with pytest.raises(ConnectionResetError) as raised:
        await retry_on_disconnect(operation)
    assert raised.value.args == (operation.runs - 1,)
    assert operation.runs > 1


@pytest.mark.asyncio
async def test_who_was_cancelled_is_not_kept_waiting() -> None:
    operation = Failing(*[ConnectionResetError() for _ in range(1_000_000)])

    waits = asyncio.Event()

    async def work() -> None:
        # As SQLAlchemy does, whose rollback fails because the connection is lost.
        with suppress(asyncio.CancelledError):
            waits.set()
            await asyncio.Event().wait()
        await retry_on_disconnect(operation)

    async with asyncio.timeout(TIMEOUT_S):
        task = asyncio.create_task(work())
        await waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert operation.runs == 1


def test_sqlalchemys_error_is_that_of_the_driver_in_it() -> None:
    lost = DBAPIError("SELECT 1", None, psycopg.OperationalError())
    refused = DBAPIError("SELECT 1", None, psycopg.errors.UniqueViolation())
    assert is_connection_error(lost)
    assert not is_connection_error(refused)
