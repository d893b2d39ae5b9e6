"""One database URL in the forms that each driver reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from aexp.errors import UsageError
from aexp.log import mask

__all__ = ["DatabaseUrl"]

# Options that asyncpg or the server reads. What else libpq knows, asyncpg would send to the server
# as a setting of the session, which the server refuses.
_KNOWN_TO_ALL = frozenset(
    {
        "application_name", "client_encoding", "dbname", "gsslib", "host", "krbsrvname", "options",
        "passfile", "password", "port", "replication", "service", "servicefile",
        "ssl_max_protocol_version", "ssl_min_protocol_version", "sslcert", "sslcrl", "sslkey",
        "sslmode", "sslnegotiation", "sslpassword", "sslrootcert", "target_session_attrs", "user",
    }
)  # fmt: skip
_LIBPQ_ONLY = {
    option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()
} - _KNOWN_TO_ALL


def _render(url: URL) -> str:
    # SQLAlchemy writes spaces in the query as +, elsewhere as they are: libpq reads neither.
    rendered = url.set(query={}).render_as_string(hide_password=False).replace(" ", "%20")
    pairs = [(n, v) for n, vs in url.query.items() for v in ([vs] if isinstance(vs, str) else vs)]
    return rendered + ("?" + urlencode(pairs, quote_via=quote) if pairs else "")


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
                "the database URL cannot be read: write postgresql://user@host:port/name"
            ) from error
        if parsed.drivername.partition("+")[0] not in {"postgres", "postgresql"}:
            raise UsageError(
                f"the database URL names {parsed.drivername!r}, but aexp needs PostgreSQL:"
                " write postgresql://user@host:port/name"
            )
        if not parsed.database:
            raise UsageError("the database URL names no database: end it with /name")
        return cls(parsed.set(drivername="postgresql"))

    def __str__(self) -> str:
        return mask(_render(self.parsed))

    def __repr__(self) -> str:
        return f"DatabaseUrl({self})"

    @property
    def libpq(self) -> str:
        """For psql and psycopg (DBOS), password included."""
        return _render(self.parsed)

    @property
    def password(self) -> str | None:
        """The password that stands before the host, if any."""
        return str(self.parsed.password) if self.parsed.password else None

    @property
    def without_password(self) -> str:
        """For libpq, which is given the password in another way."""
        return _render(self.parsed.set(password=None))

    @property
    def dsn(self) -> str:
        """For asyncpg, password included, without what only libpq understands."""
        query = {
            name: value for name, value in self.parsed.query.items() if name not in _LIBPQ_ONLY
        }
        return _render(self.parsed.set(query=query))

    @property
    def name(self) -> str:
        """Name of the database."""
        return str(self.parsed.database)

    def with_name(self, database: str) -> DatabaseUrl:
        """Return the URL of another database on the same server."""
        return DatabaseUrl(self.parsed.set(database=database))

    @property
    def socket_folder(self) -> Path | None:
        """Folder of the unix socket over which the server is reached; None when by the network."""
        host = self.parsed.host or self.parsed.query.get("host")
        return Path(host) if isinstance(host, str) and host.startswith("/") else None

    @property
    def connect_timeout_s(self) -> float:
        """Seconds to wait for a connection: the URL's ``connect_timeout``, else 10."""
        value: Any = self.parsed.query.get("connect_timeout")
        given = isinstance(value, str) and value.isdecimal() and int(value) > 0
        return float(value) if given else 10.0
