"""Files that a command is told to write."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from aexp.errors import UsageError

__all__ = ["check_place", "write_whole"]

_EFFECTIVE_IDS = os.access in os.supports_effective_ids


def check_place(path: Path, example: str) -> None:
    """Say what is wrong with ``path`` before any work is done. Leaves and changes nothing."""
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a folder: name a file in it, such as {path / example}")
        # Where a link points, there is the file written.
        place = path.resolve()
        if not place.parent.is_dir():
            raise UsageError(f"there is no folder {place.parent}: make it, or name another")
        _require_writable(place)
        if place.exists() and not place.is_file():
            return
    except (OSError, RuntimeError) as error:
        # RuntimeError: links that lead round in a ring.
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot write {path}: {reason}") from error
    try:
        # It has no name, and is gone when it is closed.
        with tempfile.TemporaryFile(dir=place.parent):
            pass
    except OSError as error:
        raise UsageError(f"cannot write in {place.parent}: {error.strerror}") from error


def _require_writable(path: Path) -> None:
    """Raise OSError when there is a file that cannot be written, or a ring of links, which Python
    leaves as it is from 3.13 on.
    """
    if path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if path.is_file():
        # Not by its mode: a file system may be read-only, and root may do what no mode says.
        os.close(os.open(path, os.O_WRONLY))
    elif path.exists() and not os.access(path, os.W_OK, effective_ids=_EFFECTIVE_IDS):
        # A pipe would wait for its reader.
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def write_whole(path: Path, text: str) -> None:
    """Write the whole file or none of it: it takes its name when it is complete."""
    # Where a link points, the file there is replaced and not the link.
    path = path.resolve()
    if path.exists() and not path.is_file():
        # A device or a pipe is written to; a rename would take its place.
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error
        return
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)
    except OSError as error:
        raise UsageError(f"cannot write in {path.parent}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        # mkstemp lets nobody else read it; a report is as readable as any new file.
        Path(name).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException as error:
        with suppress(OSError):
            Path(name).unlink()
        if isinstance(error, OSError):
            raise UsageError(f"cannot write {path}: {error.strerror}") from error
        raise


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
