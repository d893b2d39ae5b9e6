"""See what steps and workflows' bodies touch outside PostgreSQL.

Python tells by audit events (PEP 578) of files that are opened, connections, processes; uvloop's
connections raise none and are seen by themselves. What DBOS, aexp, imports, logging and temporary
files do is no effect of a workflow's.
"""

from __future__ import annotations

import functools
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import uvloop
from dbos import DBOS

from aexp.database import DatabaseUrl
from aexp.engine.recorder.records import Record, SeenEffect
from aexp.engine.recorder.sites import call_site, caller
from aexp.log import mask

__all__ = ["own_addresses", "record_effects"]

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_LONGEST = 200
_PORT = 5432
# Modules whose files, connections and processes are means and no effect: what is logged, imported
# or kept for a moment, and what the standard library asks the machine.
_MEANS = frozenset(
    {
        "logging", "logging.handlers", "importlib._bootstrap", "importlib._bootstrap_external",
        "tempfile", "uuid", "platform", "ctypes.util", "warnings", "linecache", "traceback",
        "structlog._output", "faulthandler",
    }
)  # fmt: skip
# Sockets whose use is seen as something else.
_NO_CONNECTIONS = frozenset({"smtplib"})


def record_effects(write: Callable[[Record], None], *, own: Collection[str]) -> None:
    """Hand ``write`` a record of each file, connection, process and mail of a workflow in this
    process from now on, the first time that a step or a body touches it.

    Connections whose address, ``host:port`` or the path of a socket, begins with one of ``own`` are
    those to the run's database. Not undone: an audit hook stays for the life of a process.
    """
    recorder = _EffectRecorder(write, tuple(own))
    sys.addaudithook(recorder.audit)
    _watch_uvloop(recorder)


class _EffectRecorder:
    def __init__(self, write: Callable[[Record], None], own: tuple[str, ...]) -> None:
        self._write = write
        self._own = own
        self._known: set[tuple[str, int | None, str, str]] = set()
        self._scratch: set[str] = set()
        self._busy = threading.local()

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        """See an audit event; never raises."""
        read = _EVENTS.get(event)
        if read is None or getattr(self._busy, "now", False):
            return
        self._busy.now = True
        try:
            found = read(args)
            if found is not None:
                if event in _SCRATCH_EVENTS:
                    self._scratch.add(found[1])
                else:
                    self.see(*found)
        finally:
            self._busy.now = False

    def see(self, kind: str, target: str) -> None:
        """Record an effect, unless it is none of a workflow's, or recorded already."""
        workflow_id = DBOS.workflow_id
        if workflow_id is None or not self._counts(kind, target):
            return
        step_id = DBOS.step_id
        of = (workflow_id, step_id, kind, target)
        means = _MEANS | _NO_CONNECTIONS if kind == "connection" else _MEANS
        if of in self._known or caller(means) != "own":
            return
        self._known.add(of)
        self._write(
            SeenEffect(
                workflow_id=workflow_id,
                step_id=step_id,
                pid=os.getpid(),
                at=time.monotonic(),
                epoch=time.time(),
                kind=kind,
                target=mask(target)[:_LONGEST],
                site=call_site(),
            )
        )

    def _counts(self, kind: str, target: str) -> bool:
        if kind == "connection":
            return not target.startswith(self._own)
        if kind == "file":
            inside = any(target == one or target.startswith(f"{one}/") for one in self._scratch)
            return not inside and not _is_of_the_system(target)
        return True


def _is_of_the_system(path: str) -> bool:
    """Return whether a path names what no file system keeps: a device, or the kernel's own."""
    # A file in shared memory outlives its process, as any other does.
    in_memory = path.startswith("/dev/shm/")  # noqa: S108 - it is not used
    return path.startswith(("/dev/", "/proc/", "/sys/")) and not in_memory


def own_addresses(url: DatabaseUrl) -> list[str]:
    """Return how the addresses of connections to ``url`` begin, for :func:`record_effects`."""
    if url.socket_folder is not None:
        return [f"{url.socket_folder}/"]
    host, port = url.parsed.host or "localhost", url.parsed.port or _PORT
    try:
        known = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        # Nobody will connect to it, then; what comes of that is told elsewhere.
        known = []
    return [f"{host}:{port}", *{":".join(map(str, address[:2])) for *_, address in known}]


_Found: TypeAlias = tuple[str, str] | None


def _opened(args: tuple[Any, ...]) -> _Found:
    path, _, flags = args
    if not isinstance(flags, int) or not flags & _WRITES:
        return None
    return _file(path)


def _changed(args: tuple[Any, ...]) -> _Found:
    return _file(args[0])


def _file(path: Any) -> _Found:
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if not isinstance(path, str | os.PathLike):
        return None
    return "file", _shown(os.fspath(path))


def _shown(path: Any) -> str:
    text = os.fsdecode(path)
    here = f"{os.getcwd()}/"  # noqa: PTH109 - of every opened file: no object for it
    return text.removeprefix(here)


def _scratch(args: tuple[Any, ...]) -> _Found:
    return "file", _shown(args[0])


def _connected(args: tuple[Any, ...]) -> _Found:
    return _address(args[1])


def _address(address: Any) -> _Found:
    if isinstance(address, tuple) and len(address) >= 2:
        return "connection", f"{address[0]}:{address[1]}"
    if isinstance(address, str | bytes):
        return "connection", os.fsdecode(address)
    return None


def _sent_to(args: tuple[Any, ...]) -> _Found:
    return _address(args[1]) if len(args) > 1 else None


def _process(args: tuple[Any, ...]) -> _Found:
    command = args[0] if args[0] is not None else args[1]
    first = command[0] if isinstance(command, list | tuple) and command else command
    if isinstance(first, str | bytes | os.PathLike):
        return "process", Path(os.fsdecode(first)).name
    return "process", repr(first)


def _shell(args: tuple[Any, ...]) -> _Found:
    return "process", os.fsdecode(args[0])


def _mail(args: tuple[Any, ...]) -> _Found:
    return "mail", f"{args[1]}:{args[2]}"


def _database(args: tuple[Any, ...]) -> _Found:
    path = args[0]
    return None if path in {":memory:", b":memory:", ""} else _file(path)


_EVENTS: Mapping[str, Callable[[tuple[Any, ...]], _Found]] = {
    "open": _opened,
    "os.link": _changed,
    "os.posix_spawn": _process,
    "os.remove": _changed,
    "os.rename": _changed,
    "os.symlink": _changed,
    "os.system": _shell,
    "os.truncate": _changed,
    "smtplib.connect": _mail,
    "socket.connect": _connected,
    "socket.sendto": _sent_to,
    "sqlite3.connect": _database,
    "subprocess.Popen": _process,
    "tempfile.mkdtemp": _scratch,
    "tempfile.mkstemp": _scratch,
}
_SCRATCH_EVENTS = frozenset({"tempfile.mkdtemp", "tempfile.mkstemp"})


def _watch_uvloop(recorder: _EffectRecorder) -> None:
    for name, address in (
        ("create_connection", _of_host),
        ("create_unix_connection", _of_path),
    ):
        _watch_method(name, address, recorder)


def _watch_method(name: str, address: Callable[..., _Found], recorder: _EffectRecorder) -> None:
    original = getattr(uvloop.Loop, name)

    @functools.wraps(original)
    async def connect(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = address(*args[1:], **kwargs)
        if found is not None:
            recorder.see(*found)
        return await original(self, *args, **kwargs)

    setattr(uvloop.Loop, name, connect)


def _of_host(host: Any = None, port: Any = None, **_options: Any) -> _Found:
    return None if host is None else ("connection", f"{host}:{port}")


def _of_path(path: Any = None, **_options: Any) -> _Found:
    return None if path is None else ("connection", os.fsdecode(path))
