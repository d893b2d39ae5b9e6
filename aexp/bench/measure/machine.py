"""What a figure depends on besides the code: machine, versions, PostgreSQL's settings, load."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.to_thread
import asyncpg
import psutil

import aexp
from aexp.database.connect import Connection
from aexp.durable.offload import available_cores
from aexp.errors import DatabaseError

__all__ = ["BUSY", "Server", "describe_machine", "describe_server", "load", "versions"]

# A share of the machine's processor time that others may take before a figure is in doubt.
BUSY = 0.1

_PACKAGES = ("dbos", "asyncpg", "psycopg", "sqlalchemy", "uvloop", "anyio")
_SETTINGS = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_level",
    "wal_sync_method",
    "shared_buffers",
    "max_wal_size",
    "checkpoint_timeout",
    "max_connections",
    "autovacuum",
)
# Without any of these a commit may be lost, or the database with it.
_DURABLE = ("fsync", "synchronous_commit", "full_page_writes")


def describe_machine() -> dict[str, Any]:
    """Describe processor, cores that may be used, memory and kernel."""
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return named[1].strip() if named else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of Python, of aexp with its commit, and of what it stands on."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return {"aexp": f"{aexp.__version__}{_commit()}", "python": python, **found}


def _commit() -> str:
    """Return the commit of the checkout that holds this code, if one does; "+" if changed."""
    folder = Path(aexp.__file__).parent
    if not (folder.parent / ".git").exists():
        return ""
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=12", "--dirty=+"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f" ({said.stdout.strip()})"


def load() -> dict[str, float]:
    """Load average of the last minute, and what part of the cores it would fill."""
    minute = psutil.getloadavg()[0]
    return {"average": round(minute, 2), "of_cores": round(minute / available_cores(), 2)}


@dataclass(frozen=True, slots=True)
class Server:
    """PostgreSQL as it was measured: version and settings as text, the bounds among them as
    numbers, and its first process, None when it runs elsewhere.
    """

    settings: Mapping[str, str]
    limits: Mapping[str, float | None]
    pid: int | None


async def describe_server(connection: Connection) -> Server:
    """Describe the server of this connection.

    Raises DatabaseError when the server does not keep what it has committed: its figures would say
    nothing of one that does.
    """
    rows = await connection.fetch(
        "SELECT name, current_setting(name) AS value FROM pg_settings WHERE name = ANY($1)",
        _SETTINGS,
    )
    settings = {row["name"]: row["value"] for row in rows}
    off = [name for name in _DURABLE if settings[name] == "off"]
    if off:
        raise DatabaseError(
            f"{' and '.join(off)} {'is' if len(off) == 1 else 'are'} off on this server, so that a"
            " commit may be lost: turn on what a server in earnest has, then measure"
        )
    version = await connection.fetchval("SHOW server_version")
    backend = await connection.fetchval("SELECT pg_backend_pid()")
    pid = await anyio.to_thread.run_sync(_first_process, backend)
    return Server(
        settings={"version": version, **{name: settings[name] for name in _SETTINGS}},
        limits=await _limits(connection, is_here=pid is not None),
        pid=pid,
    )


async def _limits(connection: Connection, *, is_here: bool) -> Mapping[str, float | None]:
    row = await connection.fetchrow(
        "SELECT current_setting('max_connections')::int AS max_connections,"
        " pg_size_bytes(current_setting('max_wal_size')) AS max_wal_bytes,"
        " extract(epoch FROM current_setting('checkpoint_timeout')::interval)::int"
        " AS checkpoint_timeout_s,"
        " current_setting('checkpoint_completion_target')::float AS checkpoint_completion_target"
    )
    assert row is not None
    free: float | None = None
    if is_here:
        # Only some users may know where the data lies.
        with suppress(asyncpg.InsufficientPrivilegeError, OSError):
            folder = await connection.fetchval("SHOW data_directory")
            free = float(shutil.disk_usage(folder).free)
    return {"cores": available_cores(), **dict(row), "disk_free_bytes": free}


def _first_process(backend: int) -> int | None:
    """Return the server's first process, the parent of ``backend``; None if that is not here."""
    try:
        process = psutil.Process(backend)
        if not process.name().startswith("postgres"):
            return None
        return process.ppid()
    except psutil.Error:
        return None
