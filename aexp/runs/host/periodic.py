"""What a host does again and again for as long as it lives, whatever comes in between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import asyncpg
import structlog

from aexp.database.retry import is_connection_error
from aexp.errors import AexpError

__all__ = ["repeat"]

# Between two looks for what is to be gone on with.
_LOOK_AGAIN_S = 1.0

log = structlog.stdlib.get_logger("aexp.runs.host")


async def repeat(once: Callable[[], Awaitable[None]], event: str, **about: str) -> None:
    """Do ``once`` each second, until cancelled.

    What somebody can mend meanwhile, a database that is away or being reset above all, is logged as
    ``event``, and no end.
    """
    while True:
        try:
            await once()
        except Exception as error:
            known = isinstance(error, AexpError | asyncpg.PostgresError)
            if not known and not is_connection_error(error):
                raise
            log.warning(event, error=str(error), **about)
        await anyio.sleep(_LOOK_AGAIN_S)
