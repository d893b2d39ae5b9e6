"""The system user as whom an embedded PostgreSQL runs, and the folders that this user may use.

PostgreSQL refuses to run as root. Root steps down to a system user of aexp's own; anybody else runs
the server as oneself. No folder that is not the server's changes its owner or its mode.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from aexp.errors import EmbeddedServerError

__all__ = [
    "SYSTEM_USER",
    "ServerUser",
    "caller_name",
    "find_server_user",
    "require_own",
    "require_reach",
]

SYSTEM_USER = "aexp-postgres"
_ROOT = 0
_TIMEOUT_S = 60
log = structlog.stdlib.get_logger("aexp.database.embedded")


@dataclass(frozen=True, slots=True)
class ServerUser:
    """Whoever runs the server: the caller, or whom root steps down to."""

    name: str
    uid: int
    gid: int

    @property
    def is_caller(self) -> bool:
        """Whether it is whoever runs this process."""
        return self.uid == os.geteuid()

    @property
    def process_options(self) -> dict[str, Any]:
        """Options of ``subprocess.Popen`` that make a process one of this user's."""
        if self.is_caller:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def give(self, path: Path) -> None:
        """Make this user the owner of ``path``, which the caller has just made."""
        if not self.is_caller:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def caller_name() -> str:
    """Return the name of the user who runs this process. Raises EmbeddedServerError for none."""
    return _named(os.geteuid()).pw_name


def find_server_user(data: Path) -> ServerUser:
    """Return who runs the server of the folder ``data``, which need not exist.

    For root that is the owner of the data, or a system user, who is made when there is none: a log
    line tells. Raises EmbeddedServerError where none can be made.
    """
    if os.geteuid() != _ROOT:
        return _of(_named(os.geteuid()))
    owner = data.stat().st_uid if data.exists() else _ROOT
    return _of(_system_user() if owner == _ROOT else _named(owner))


def _of(entry: pwd.struct_passwd) -> ServerUser:
    return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _named(uid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(uid)
    except KeyError as error:
        raise EmbeddedServerError(
            f"the embedded PostgreSQL needs a user with a name, and user {uid} has none:"
            " add one to /etc/passwd, or set DBOS_SYSTEM_DATABASE_URL"
        ) from error


def _system_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return _make_system_user()


def _make_system_user() -> pwd.struct_passwd:
    command = [
        "useradd", "--system", "--user-group", "--no-create-home",
        "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", SYSTEM_USER,
    ]  # fmt: skip
    try:
        made = subprocess.run(  # noqa: S603 - fixed
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
        reason = made.stderr.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    try:
        # Another process may have made it at the same moment.
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError as error:
        raise EmbeddedServerError(
            f"PostgreSQL refuses to run as root, and user {SYSTEM_USER} cannot be made:"
            f" {reason}; run aexp as another user, or set DBOS_SYSTEM_DATABASE_URL"
        ) from error
    log.warning("embedded.system_user_made", user=SYSTEM_USER, reason="no server runs as root")
    return entry


def require_own(home: Path, setting: str) -> None:
    """Raise EmbeddedServerError when ``home`` belongs to another user, whose data this would spoil.

    Root in a folder of another user's is refused also when ``home`` is still to be made, since its
    owner could not use it afterwards.
    """
    me = os.geteuid()
    found = next(path for path in (home, *home.parents) if path.exists())
    owner = found.stat().st_uid
    if owner == me or (found != home and me != _ROOT):
        return
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = str(owner)
    raise EmbeddedServerError(
        f"{found} belongs to user {name}, whose data another user's server would spoil:"
        f" run aexp as {name}, or set {setting} to a folder of your own"
    )


def require_reach(user: ServerUser, home: Path, program: Path, setting: str) -> None:
    """Raise EmbeddedServerError unless ``user`` may enter ``home`` and run ``program``."""
    if user.is_caller:
        return
    refused = f"PostgreSQL refuses to run as root, and user {user.name}, as whom it would run,"
    if not _succeeds(user, "/bin/sh", "-c", 'cd "$0"', str(home)):
        raise EmbeddedServerError(
            f"{refused} may not enter {home}: set {setting} to a folder that others may enter,"
            f" such as /var/lib/aexp, or run aexp as another user"
        )
    if not _succeeds(user, str(program), "--version"):
        raise EmbeddedServerError(
            f"{refused} may not run {program}: install aexp where others may read it, such as"
            " below /opt, run it as another user, or set DBOS_SYSTEM_DATABASE_URL"
        )


def _succeeds(user: ServerUser, *command: str) -> bool:
    try:
        done = subprocess.run(  # noqa: S603 - fixed, or of the wheel
            command,
            check=False,
            capture_output=True,
            cwd="/",
            timeout=_TIMEOUT_S,
            **user.process_options,
        )
    except PermissionError:
        return False
    return done.returncode == 0
