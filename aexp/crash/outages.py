"""A laboratory whose server may be stopped, with a copy of what is in the one that may not."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio

from aexp.crash.experiment import Laboratory
from aexp.crash.private import open_private_server
from aexp.crash.proxy import find_server
from aexp.database import DatabaseUrl, programs
from aexp.database.connect import connected
from aexp.database.copies import open_copies
from aexp.errors import DatabaseError
from aexp.settings import psql_environment

__all__ = ["open_stoppable"]

_ORIGIN = "aexp_origin"


@asynccontextmanager
async def open_stoppable(laboratory: Laboratory) -> AsyncIterator[Laboratory]:
    """One like ``laboratory`` on a server of its own, for one experiment at a time.

    It has what the template has there. Raises DatabaseError, EmbeddedServerError.
    """
    async with open_private_server() as server:
        origin = server.url.with_name(_ORIGIN)
        with tempfile.TemporaryDirectory(prefix="", dir=laboratory.terms.workers.folder) as folder:
            # Of a copy: to the template itself nobody may be connected when it is copied.
            async with laboratory.databases.copy() as url:
                await _copy_database(url, origin, Path(folder))
        async with open_copies(server.url, prefix="aexp_crash", origin=_ORIGIN) as databases:
            yield replace(
                laboratory,
                databases=databases,
                server=await find_server(server.url),
                private=server,
            )


async def _copy_database(origin: DatabaseUrl, copy: DatabaseUrl, folder: Path) -> None:
    """Make the database ``copy``, which is not there, with all that ``origin`` has.

    Owners and privileges stay behind: on the server of ``copy`` there may be no such users.
    ``folder`` is for the time between. Raises DatabaseError.
    """
    dump = folder / "dump.sql"
    await _run("pg_dump", origin, "--no-owner", "--no-privileges", "--file", str(dump), "--dbname")
    async with connected(copy.with_name("postgres")) as connection:
        await connection.execute(f"CREATE DATABASE {copy.name}")
    await _run(
        "psql", copy, "--no-psqlrc", "--quiet", "--output", "/dev/null",
        "--set", "ON_ERROR_STOP=1", "--single-transaction", "--file", str(dump), "--dbname",
    )  # fmt: skip


async def _run(name: str, url: DatabaseUrl, *arguments: str) -> None:
    """Run a program of the wheel on ``url``."""
    program = programs.program(name)
    assert program is not None
    done = await anyio.run_process(
        [str(program), *arguments, url.without_password],
        check=False,
        env=psql_environment(url.password),
    )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").split("\n")
        reason = next((line for line in said if "error:" in line.lower()), said[0])
        raise DatabaseError(f"cannot copy {url} to the server of --postgres: {reason.strip()}")
