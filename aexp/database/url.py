"""One database URL in the forms that each driver reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from aexp.errors import UsageError

__all__ = ["DatabaseUrl"]

# libpq's own settings, which asyncpg would send to the server as settings of the session.
_LIBPQ_ONLY = frozenset(
    {
        "connect_timeout",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
        "channel_binding",
    }
)


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A PostgreSQL URL. ``str()`` hides the password; ask for ``libpq`` or ``dsn`` to connect."""

    parsed: URL

    @classmethod
    def parse(cls, text: str) -> DatabaseUrl:
        """Read ``postgres[ql][+driver]://…``; raises UsageError for anything else."""
        try:
            parsed = make_url(text)
        except (ArgumentError, ValueError) as error:
            raise UsageError(
                "the database URL cannot be read: write postgresql://user:password@host:port/name"
            ) from error
        if parsed.drivername.partition("+")[0] not in {"postgres", "postgresql"}:
            raise UsageError(
                f"the database URL names {parsed.drivername!r}, but aexp needs PostgreSQL:"
                " write postgresql://user:password@host:port/name"
            )
        if not parsed.database:
            raise UsageError("the database URL names no database: end it with /name")
        return cls(parsed.set(drivername="postgresql"))

    def __str__(self) -> str:
        return self.parsed.render_as_string(hide_password=True)

    @property
    def libpq(self) -> str:
        """For psql and psycopg (DBOS), password included."""
        return self.parsed.render_as_string(hide_password=False)

    @property
    def dsn(self) -> str:
        """For asyncpg, password included, without what only libpq understands."""
        query = {
            name: value for name, value in self.parsed.query.items() if name not in _LIBPQ_ONLY
        }
        return self.parsed.set(query=query).render_as_string(hide_password=False)

    @property
    def name(self) -> str:
        """Name of the database."""
        return str(self.parsed.database)

    def with_name(self, database: str) -> DatabaseUrl:
        """The same server, another database."""
        return DatabaseUrl(self.parsed.set(database=database))

    @property
    def connect_timeout_s(self) -> float:
        """Seconds to wait for a connection: the URL's ``connect_timeout``, else 10."""
        value: Any = self.parsed.query.get("connect_timeout")
        return float(value) if isinstance(value, str) and value.isdigit() and int(value) else 10.0
