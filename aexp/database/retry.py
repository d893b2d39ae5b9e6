"""What failed because its connection did, tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg
import psycopg
from sqlalchemy.exc import DBAPIError

__all__ = ["PATIENCE_S", "is_connection_error", "retry_on_disconnect"]

PATIENCE_S = 60.0
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0

_R = TypeVar("_R")


def is_connection_error(error: BaseException) -> bool:
    """Return whether ``error`` says that the connection, and not the statement, has failed."""
    if isinstance(error, DBAPIError):
        # SQLAlchemy puts an error of its own between itself and the driver's.
        drivers = (error.orig, error.orig.__cause__ if error.orig is not None else None)
        return error.connection_invalidated or any(
            is_connection_error(found) for found in drivers if found is not None
        )
    return isinstance(
        error,
        (
            OSError,
            asyncpg.TooManyConnectionsError,
            asyncpg.InterfaceError,
            # What asyncpg says of a connection that ends in the middle of an operation.
            asyncpg.InternalClientError,
            asyncpg.PostgresConnectionError,
            asyncpg.OperatorInterventionError,
            psycopg.OperationalError,
        ),
    )


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def retry_on_disconnect(operation: Callable[[], Awaitable[_R]]) -> _R:
    """Await ``operation()``, again and again while its connection fails, for a minute at most.

    For what may be done twice. DBOS itself waits for its database in the same way. Raises the last
    error, or CancelledError in a task that was cancelled before.
    """
    try:
        return await operation()
    except Exception as error:
        if not is_connection_error(error):
            raise
        if _is_cancelled():
            # Its CancelledError was lost: to roll back over a lost connection raises another error.
            raise asyncio.CancelledError from error
    # Needed by few, and it takes a tenth of a second.
    import stamina  # noqa: PLC0415

    async for attempt in stamina.retry_context(
        on=is_connection_error,
        attempts=None,
        timeout=PATIENCE_S,
        wait_initial=_FIRST_PAUSE_S,
        wait_max=_LONGEST_PAUSE_S,
        wait_jitter=_FIRST_PAUSE_S,
    ):
        with attempt:
            return await operation()
    raise AssertionError("stamina gives up by raising the last error")
