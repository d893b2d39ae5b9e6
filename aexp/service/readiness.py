"""Whether the database can be used, found out once for all who ask."""

from __future__ import annotations

import math
from collections.abc import Sequence

import anyio

from aexp.database import DatabaseUrl, require_schema
from aexp.errors import DatabaseError, DatabaseUnreachable

__all__ = ["DatabaseCheck"]

DEADLINE_S = 2.0
# What was found holds for so long. Who asks needs no token: each with a connection of its own they
# would leave none to those who work.
FRESH_S = 1.0


class DatabaseCheck:
    """Asks the database at ``url`` with one connection at a time, and one a second at most."""

    def __init__(self, url: DatabaseUrl) -> None:
        self._url = url
        self._one = anyio.Lock()
        self._found: Sequence[str] = ()
        self._stale_at = -math.inf

    async def problems(self) -> Sequence[str]:
        """Say why the database cannot be used; empty when it can."""
        async with self._one:
            if anyio.current_time() >= self._stale_at:
                self._found = await self._ask()
                self._stale_at = anyio.current_time() + FRESH_S
            return self._found

    async def _ask(self) -> Sequence[str]:
        # Who asks learns nothing of the server.
        try:
            with anyio.fail_after(DEADLINE_S):
                await require_schema(self._url)
        except TimeoutError:
            return [f"the database does not answer within {DEADLINE_S:g} s"]
        except DatabaseUnreachable:
            return ["the database cannot be reached"]
        except DatabaseError:
            return ["the database is not migrated to this version"]
        return []
