"""A disk that is full says nothing about a workflow: it ends the proxy, and tells so."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import psycopg
import pytest

from aexp.database import DatabaseUrl
from aexp.database.server_user import SYSTEM_USER
from aexp.errors import DatabaseError, first_of_ours
from tests.support.proxied import Asyncpg, Recorder, proxied


@pytest.fixture
def tiny(url: DatabaseUrl) -> Iterator[DatabaseUrl]:
    """A database with a table on a disk of 2 MiB."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may make a disk")
    folder = Path(tempfile.mkdtemp(prefix="aexp-disk-"))
    options = f"size=2m,mode=700,uid={pwd.getpwnam(SYSTEM_USER).pw_uid}"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if (done := subprocess.run(mount, capture_output=True, text=True, check=False)).returncode != 0:
        folder.rmdir()
        pytest.skip(f"no disk can be made here: {done.stderr.strip()}")
    space = folder.name.replace("-", "_").lower()
    with psycopg.connect(url.libpq, autocommit=True) as connection:
        connection.execute(f"CREATE TABLESPACE {space} LOCATION '{folder}'".encode())
        connection.execute(f"CREATE TABLE full_soon (word text) TABLESPACE {space}".encode())
        yield url
        connection.execute("DROP TABLE full_soon")
        connection.execute(f"DROP TABLESPACE {space}".encode())
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()


async def fill(database: DatabaseUrl) -> None:
    async with proxied(database, Recorder()) as proxy:
        client = await Asyncpg.connect(proxy.url)
        with suppress(asyncpg.DiskFullError, *Asyncpg.lost):
            await client.run(
                "INSERT INTO full_soon SELECT repeat(md5(n::text), 100)"
                " FROM generate_series(1, 100000) AS n"
            )


@pytest.mark.asyncio
async def test_a_full_disk_ends_the_proxy_in_a_line(tiny: DatabaseUrl) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        await fill(tiny)
    error = first_of_ours(raised.value)
    assert isinstance(error, DatabaseError)
    assert str(error).startswith("the disk of the database is full: could not extend file")
