"""A step whose writes and whose checkpoint are one commit: they happen exactly once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio
from sqlalchemy import text

from aexp.database.connect import Connection
from aexp.database.retry import is_connection_error
from aexp.engine.runtime import Runtime

__all__ = ["MAX_ATTEMPTS", "RETRY_INTERVAL_S", "CommitInDoubt", "Transaction", "exactly_once"]

MAX_ATTEMPTS = 3
RETRY_INTERVAL_S = 0.05
MOST_LOST_CONNECTIONS = 20

_R = TypeVar("_R")


class CommitInDoubt(Exception):
    """Whether a step's transaction was committed is not known, so it is not tried again."""

    def __init__(self, step: str) -> None:
        self.step = step
        super().__init__(
            f"the connection was lost while step {step!r} was committed, and none was to be had"
            " that could tell whether it was"
        )


@dataclass(frozen=True, slots=True)
class Transaction:
    """What the body of a transactional step writes through. ``attempt`` counts from 1."""

    runtime: Runtime
    attempt: int

    async def connection(self) -> Connection:
        """Return the asyncpg connection whose next commit is that of the step's checkpoint."""
        session = self.runtime.datasource.sql_session()
        # SQLAlchemy opens the transaction at the first statement that goes through it.
        await session.execute(text("SELECT 1"))
        raw = await (await session.connection()).get_raw_connection()
        connection: Connection | None = raw.driver_connection
        assert connection is not None
        return connection


async def exactly_once(
    runtime: Runtime,
    name: str,
    body: Callable[[Transaction], Awaitable[_R]],
    *,
    retry_on: type[Exception] | tuple[type[Exception], ...] = (),
) -> _R:
    """Run ``body`` as the step ``name`` of the calling workflow; its writes commit with it.

    The body itself may run again, after a kill, a lost connection, or an error of ``retry_on``,
    which is raised when the third attempt brings it too. DBOS does not retry a transactional step,
    so each attempt is a step of its own: the count of attempts is durable and survives a kill.

    An OSError of the body's own, but for a ConnectionError, is no lost connection and is raised.

    A commit whose acknowledgement is lost is looked up by the datasource over a new connection.
    Raises CommitInDoubt when there is none for a minute: another attempt could double the writes.

    READ COMMITTED, because the datasource does not know asyncpg's serialisation errors: let nobody
    else write the same rows.
    """
    may_commit = False

    async def step(attempt: int) -> _R:
        nonlocal may_commit
        result = await body(Transaction(runtime, attempt))
        may_commit = True
        return result

    failed = lost = 0
    while True:
        try:
            return await runtime.datasource.run_tx_step_async(
                {"name": name, "isolation_level": "READ COMMITTED"}, step, failed + 1
            )
        except retry_on:
            failed += 1
            if failed == MAX_ATTEMPTS:
                raise
            await anyio.sleep(RETRY_INTERVAL_S * 2**failed)
        except Exception as error:
            if not is_connection_error(error):
                raise
            if may_commit:
                raise CommitInDoubt(name) from error
            # The body's own, such as a file that is not there: what a server that is away says has
            # been waited out where a connection is made.
            if isinstance(error, OSError) and not isinstance(error, ConnectionError):
                raise
            lost += 1
            if lost == MOST_LOST_CONNECTIONS:
                raise
            await anyio.sleep(min(RETRY_INTERVAL_S * 2**lost, 2.0))
