"""Databases of the user's that are not DBOS's: an environment variable names each of them, and each
experiment gets copies, to which the variables lead in its workers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import make_url

from aexp.database import DatabaseUrl
from aexp.database.copies import Copies, open_copies
from aexp.environment import read_variable
from aexp.errors import UsageError

__all__ = ["UserDatabase", "copy_all", "find_user_databases", "open_user_databases"]

_PREFIX = "aexp_crash"


@dataclass(frozen=True, slots=True)
class UserDatabase:
    """What a variable names: ``url`` for us, and ``text`` as the user has written it."""

    variable: str
    url: DatabaseUrl
    text: str

    def written_for(self, copy: DatabaseUrl) -> str:
        """Return what the variable must say to lead to ``copy``, with the driver that it names."""
        written = make_url(self.text).set(database=copy.name)
        return written.render_as_string(hide_password=False)


def find_user_databases(variables: Sequence[str]) -> list[UserDatabase]:
    """Read the URLs of ``variables``; raises UsageError for one that is not set, or no database."""
    found = []
    for name in dict.fromkeys(variables):
        text = read_variable(name)
        if not text:
            raise UsageError(f"--database-env {name}: the variable is not set: export it first")
        try:
            found.append(UserDatabase(name, DatabaseUrl.parse(text), text))
        except UsageError as error:
            raise UsageError(f"--database-env {name}: {error}") from error
    return found


@asynccontextmanager
async def open_user_databases(
    databases: Sequence[UserDatabase],
) -> AsyncIterator[Mapping[UserDatabase, Copies]]:
    """Make a template of each, of which copies are made; all are gone when the context ends.

    Raises DatabaseError, also when somebody is connected to one of them.
    """
    async with AsyncExitStack() as stack:
        opened: dict[UserDatabase, Copies] = {}
        for database in databases:
            copies = open_copies(
                database.url, prefix=_PREFIX, origin=database.url.name, migrate=False
            )
            opened[database] = await stack.enter_async_context(copies)
        yield opened


@asynccontextmanager
async def copy_all(
    databases: Mapping[UserDatabase, Copies],
) -> AsyncIterator[Mapping[UserDatabase, DatabaseUrl]]:
    """Make a copy of each for one experiment."""
    async with AsyncExitStack() as stack:
        yield {
            database: await stack.enter_async_context(copies.copy())
            for database, copies in databases.items()
        }
