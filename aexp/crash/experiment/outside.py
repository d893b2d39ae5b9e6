"""Keep a worker from every PostgreSQL that is not its experiment's own.

What it wrote there would last from experiment to experiment, and no fault would strike at it: what
is found of it would be false. The process ends at once, so that no code of its own can hide that.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import asyncpg.connect_utils
import psycopg

from aexp.database import DatabaseUrl
from aexp.errors import UsageError

__all__ = ["Enclosure", "OutsideReached", "enclose", "find_outside", "raise_if_outside"]

_SOCKET = ".s.PGSQL."


class OutsideReached(UsageError):
    """A worker has reached a PostgreSQL that is not its experiment's own."""

    def __init__(self, place: str) -> None:
        self.place = place
        super().__init__(
            f"the workflow reaches another PostgreSQL than its experiment's: {place}; let it take"
            " the URL from DBOS_SYSTEM_DATABASE_URL, or name the variable that has this one, so"
            " that each point gets a copy (--database-env NAME), or permit it (--allow-outside)"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Enclosure:
    """Where a worker may connect to: the socket in ``folder`` for the database ``name``, and the
    ``copies``, whose names are nobody else's. ``note`` is the file that says where it tried to.
    """

    folder: str
    name: str
    copies: Sequence[str]
    note: str

    @classmethod
    def around(cls, url: DatabaseUrl, copies: Sequence[DatabaseUrl], note: Path) -> Enclosure:
        """Return the enclosure of a worker whose way to its database is ``url``."""
        return cls(
            folder=str(url.socket_folder),
            name=url.name,
            copies=[copy.name for copy in copies],
            note=str(note),
        )

    def payload(self) -> Mapping[str, Any]:
        """Return it as JSON values, of which it can be made again."""
        return asdict(self)

    def has(self, host: str, database: str) -> bool:
        """Return whether ``database`` on ``host``, or in that socket folder, is inside."""
        return database in self.copies or (database == self.name and host == self.folder)


def find_outside(enclosure: Enclosure, host: str, port: int | str, database: str) -> str | None:
    """Return where a connection leads, in words without a password; None when that is inside."""
    if enclosure.has(host, database):
        return None
    if host.startswith("/"):
        return f"postgresql:///{database}?host={host}&port={port}"
    return f"postgresql://{host}:{port}/{database}"


def enclose(enclosure: Enclosure) -> None:
    """End this process, from now on, when it connects to a PostgreSQL outside ``enclosure``.

    By psycopg, psycopg2 or asyncpg; SQLAlchemy and others go through these. Not undone: for a
    process that does nothing else.
    """

    def check(host: str, port: int | str, database: str) -> None:
        outside = find_outside(enclosure, host, port, database)
        if outside is not None:
            _end(outside, enclosure.note)

    _watch_psycopg(check)
    _watch_asyncpg(check)
    if importlib.util.find_spec("psycopg2") is not None:
        _watch_psycopg2(check)


def raise_if_outside(note: Path) -> None:
    """Raise OutsideReached when a worker has left ``note`` of it."""
    if note.exists():
        raise OutsideReached(note.read_text())


def _end(outside: str, note: str) -> NoReturn:
    Path(note).write_text(outside)
    error = OutsideReached(outside)
    sys.stderr.write(f"aexp: error: {error}\n")
    sys.stderr.flush()
    os._exit(error.exit_code)


_Check = Callable[[str, int | str, str], None]


def _watch_psycopg(check: _Check) -> None:
    # All connections are made by it, sync and async, and libpq alone knows where one leads.
    connections: Any = psycopg.BaseConnection
    make = connections.__init__

    def checked(connection: Any, pgconn: psycopg.pq.abc.PGconn) -> None:
        check(pgconn.host.decode(), pgconn.port.decode(), pgconn.db.decode())
        make(connection, pgconn)

    connections.__init__ = checked


def _watch_asyncpg(check: _Check) -> None:
    module: Any = asyncpg.connect_utils
    connect = module._connect_addr  # noqa: SLF001 - where it is known what the URL means

    async def checked(*, addr: Any, params: Any, **options: Any) -> Any:
        if isinstance(addr, str):
            folder, _, port = addr.rpartition("/" + _SOCKET)
            check(folder, port, params.database)
        else:
            host, port = addr
            check(host, port, params.database)
        return await connect(addr=addr, params=params, **options)

    module._connect_addr = checked  # noqa: SLF001


def _watch_psycopg2(check: _Check) -> None:
    psycopg2: Any = importlib.import_module("psycopg2")
    connect = psycopg2.connect

    @functools.wraps(connect)
    def checked(*given: Any, **options: Any) -> Any:
        connection = connect(*given, **options)
        check(connection.info.host, connection.info.port, connection.info.dbname)
        return connection

    psycopg2.connect = checked
