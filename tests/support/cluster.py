"""A PostgreSQL of another version than the embedded one, for as long as a test needs it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from aexp.database import DatabaseUrl, programs

__all__ = ["DEBIAN_15", "WHEEL_16", "cluster"]

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
_postgres = programs.program("postgres")
assert _postgres is not None
WHEEL_16 = _postgres.parents[2] / "pginstall" / "bin"


@contextmanager
def cluster(binaries: Path) -> Iterator[DatabaseUrl]:
    """A new server from these programs, on a unix socket alone; it is gone at the end.

    The test is skipped where it cannot be run. PostgreSQL refuses to be run by root.
    """
    user = _unprivileged()
    try:
        _run(user, binaries / "postgres", "--version")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no PostgreSQL that can be run in {binaries}: {error}")
    home = Path(tempfile.mkdtemp(prefix="aexp-test-"))
    data, control = home / "data", binaries / "pg_ctl"
    options = f"-c listen_addresses= -c unix_socket_directories={home} -c fsync=off"
    try:
        if user:
            shutil.chown(home, user["user"])
        initialise = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C")
        _run(user, binaries / "initdb", "--no-sync", *initialise, f"--pgdata={data}")
        _run(user, control, "-D", data, "-l", home / "log", "-o", options, "-w", "start")
        try:
            yield DatabaseUrl.parse(
                f"postgresql://postgres:geheim@/postgres?host={quote(str(home), safe='')}"
            )
        finally:
            _run(user, control, "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(home)


def _unprivileged() -> Mapping[str, Any]:
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_name, "group": nobody.pw_gid, "extra_groups": []}


def _run(user: Mapping[str, Any], *command: str | Path) -> None:
    # No pipe: the server would inherit it.
    subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL, **user)
