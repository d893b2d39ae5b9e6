"""Another time zone, host, working folder and locale."""

from __future__ import annotations

import locale
import os
import platform
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from aexp.engine.recorder.replaced import replaced

__all__ = ["elsewhere"]

# Half a day from UTC to either side, so that it is another hour, and often another day; for who has
# no names of zones, as POSIX writes them.
_ZONES = {"Etc/GMT-12": "<+12>-12", "Etc/GMT+12": "<-12>12"}
_ZONE_FILES = Path("/usr/share/zoneinfo")
# Not those whose files are no UTF-8: that would be another fault.
_LOCALES = ("C.UTF-8", "en_US.UTF-8", "en_GB.UTF-8", "de_DE.UTF-8")
_LOCALE_VARIABLES = ("LC_ALL", "LANG")


@contextmanager
def elsewhere(folder: Path) -> Iterator[None]:
    """Have this process be in another place: another time zone, host name, locale where another
    one is installed, and a working folder below ``folder`` in which everything is found that stands
    in the present one.
    """
    with ExitStack() as undo:
        undo.callback(time.tzset)
        for name, value in {"TZ": _other_zone(), **_other_locale()}.items():
            undo.enter_context(_variable(name, value))
        time.tzset()
        locale.setlocale(locale.LC_CTYPE, "")
        host = f"elsewhere-{socket.gethostname()}"
        undo.enter_context(_variable("HOSTNAME", host))
        undo.enter_context(replaced(socket, "gethostname", lambda: host))
        undo.enter_context(replaced(platform, "node", lambda: host))
        undo.enter_context(replaced(os, "uname", _uname(host)))
        here = Path.cwd()
        os.chdir(_copied(here, folder))
        undo.callback(os.chdir, here)
        yield


def _other_zone() -> str:
    east, west = _ZONES
    name = west if time.localtime().tm_gmtoff > 0 else east
    return name if (_ZONE_FILES / name).is_file() else _ZONES[name]


def _other_locale() -> dict[str, str]:
    known = {os.environ.get(name) for name in _LOCALE_VARIABLES}
    before = locale.setlocale(locale.LC_ALL)
    try:
        other = next((name for name in _LOCALES if name not in known and _is_installed(name)), None)
    finally:
        locale.setlocale(locale.LC_ALL, before)
    return {} if other is None else dict.fromkeys(_LOCALE_VARIABLES, other)


def _is_installed(name: str) -> bool:
    try:
        locale.setlocale(locale.LC_ALL, name)
    except locale.Error:
        return False
    return True


def _uname(host: str) -> Callable[[], os.uname_result]:
    original: Callable[[], Any] = os.uname

    def uname() -> os.uname_result:
        known = original()
        return os.uname_result((known.sysname, host, *known[2:]))

    return uname


def _copied(folder: Path, parent: Path) -> Path:
    """Return a new folder in which each entry of ``folder`` leads to it."""
    copied = parent / "elsewhere"
    copied.mkdir(exist_ok=True)
    for entry in folder.iterdir():
        link = copied / entry.name
        if not link.is_symlink() and not link.exists():
            link.symlink_to(entry)
    return copied


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
