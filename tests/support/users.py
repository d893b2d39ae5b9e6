"""Other users of the machine, in whose names a test of root's runs commands."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from aexp.database import embedded
from tests.support.cli import TIMEOUT_S, Result
from tests.support.sockets import remove_socket_folders

__all__ = ["User", "needs_root", "user_folder"]

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root runs commands in the name of other users"
)


@dataclass(frozen=True)
class User:
    """A user that every Linux has, such as ``nobody`` and ``daemon``."""

    name: str

    @property
    def uid(self) -> int:
        """The user's number."""
        return pwd.getpwnam(self.name).pw_uid

    def run(self, *command: str, folder: Path | None = None) -> Result:
        """Run ``command`` to its end in the user's name, with no right but the user's."""
        return self._run(["--clear-groups"], command, folder)

    def aexp(self, *arguments: str, folder: Path) -> Result:
        """Run ``aexp ARGUMENTS`` in the user's name.

        The user may read everything, or could not run an interpreter that lies in root's home.
        """
        rights = [
            "--clear-groups",
            "--inh-caps=+dac_read_search",
            "--ambient-caps=+dac_read_search",
        ]
        return self._run(rights, [sys.executable, "-P", "-m", "aexp", *arguments], folder)

    def _run(self, rights: Sequence[str], command: Sequence[str], folder: Path | None) -> Result:
        done = subprocess.run(
            ["setpriv", f"--reuid={self.name}", f"--regid={self.uid}", *rights, *command],
            cwd=folder or "/",
            env={**os.environ, "HOME": str(folder or "/")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)


@contextmanager
def user_folder(user: User, *, below: str = "") -> Iterator[Path]:
    """A folder of ``user``'s alone, at a path that ends with ``below``."""
    top = Path(tempfile.mkdtemp(prefix="aexp-user-"))
    top.chmod(0o755)
    folder = top / below
    folder.mkdir(parents=True, exist_ok=True)
    for path in (folder, *folder.parents):
        if path.is_relative_to(top):
            os.chown(path, user.uid, -1)
    try:
        yield folder
    finally:
        # Its server is the user's, as whom root may stop it only by its process.
        pid = embedded.running_pid(folder / ".aexp")
        if pid is not None:
            user.aexp("db", "stop", folder=folder)
        remove_socket_folders(top)
        subprocess.run(["rm", "-rf", str(top)], check=True)
