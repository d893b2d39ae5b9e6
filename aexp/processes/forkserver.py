"""A process that has imported everything, and forks a fresh process for each order.

Interpreter and imports take most of a second, a fork takes milliseconds. The server stays
single-threaded and never runs an event loop, so a forked process begins as a started one does: a
real process with a pid, a group, and a SIGKILL of its own.

Its standard input is a unix socket. An order comes as a line of JSON with three descriptors, the
standard streams of the new process. On its standard output it tells, a JSON object a line, which
process an order has become and how each has ended. At the end of its input, however that came
about, it kills what still lives with all that it has started, but for processes that drain when
their own input ends; it removes its folder when the last of them has ended, and ends.
:mod:`aexp.processes.child` is the other side.

It does not hear SIGINT and SIGTERM, which somebody may send to all processes of a service: what it
has forked does.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import selectors
import shutil
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

__all__ = ["STREAMS", "main"]

# Descriptors that come with an order: standard input, output and error.
STREAMS = 3
_CHUNK = 65_536
_ASKING = (signal.SIGINT, signal.SIGTERM)


def _find(name: str) -> Callable[..., Any]:
    """Return the function ``module:name``."""
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


class _Server:
    """Orders in, processes out, and their ends told."""

    def __init__(self) -> None:
        # Each with whether it drains.
        self._alive: dict[int, bool] = {}
        self._orders = socket.socket(fileno=os.dup(0))
        self._told = os.dup(1)
        # What modules print while they are imported is no message of ours.
        os.dup2(2, 1)
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._woken, False)
        self._pending = b""
        self._descriptors: deque[int] = deque()

    def run(self) -> None:
        """Serve until the input ends, then leave nothing behind."""
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._handlers = {number: signal.signal(number, signal.SIG_IGN) for number in _ASKING}
        # Whatever is collected later would be copied in each fork.
        gc.collect()
        gc.freeze()
        gc.enable()
        try:
            self._serve()
        finally:
            for pid, drains in self._alive.items():
                if not drains:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(pid, signal.SIGKILL)
        while any(self._alive.values()):
            select.select([self._woken], [], [])
            self._reap()

    def _serve(self) -> None:
        self._tell({"ready": os.getpid()})
        with selectors.DefaultSelector() as selector:
            selector.register(self._orders, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            going_on = True
            while going_on:
                ready = {key.fileobj for key, _ in selector.select()}
                if self._woken in ready:
                    self._reap()
                if self._orders in ready:
                    going_on = self._read_orders()

    def _read_orders(self) -> bool:
        """Carry out what has come; False at the end."""
        chunk, descriptors, _, _ = socket.recv_fds(self._orders, _CHUNK, 16 * STREAMS)
        if not chunk:
            return False
        self._descriptors.extend(descriptors)
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        for line in lines:
            self._fork(json.loads(line), [self._descriptors.popleft() for _ in range(STREAMS)])
        return True

    def _fork(self, order: Mapping[str, Any], streams: list[int]) -> None:
        if threading.active_count() > 1:
            # A lock that another thread holds would stay locked in the child for ever.
            raise RuntimeError(f"cannot fork beside threads: {threading.enumerate()}")
        # What comes until the child hears it is kept for it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ASKING)
        pid = os.fork()
        if pid == 0:
            self._become(order, streams)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ASKING)
        for stream in streams:
            os.close(stream)
        # In both, so that its group exists before anybody hears of it.
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(pid, pid)
        self._alive[pid] = order["drains"]
        self._tell({"order": order["order"], "pid": pid})

    def _become(self, order: Mapping[str, Any], streams: list[int]) -> NoReturn:
        """Be the process that is ordered, to its end."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setpgid(0, 0)
            for target, stream in enumerate(streams):
                os.dup2(stream, target)
            own = (self._orders.detach(), self._told, self._woken, self._wake)
            for descriptor in (*streams, *own, *self._descriptors):
                os.close(descriptor)
            os.environ.update(order["environment"])
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ASKING)
            code = int(_find(order["function"])(order["payload"]))
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            # Never back into the loop above, whatever happened.
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._woken, _CHUNK):
                pass
        for pid in tuple(self._alive):
            # Left to be reaped, so that its number is still its own.
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
                continue
            # What it has started does not outlive it.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            status = os.waitpid(pid, 0)[1]
            del self._alive[pid]
            self._tell({"pid": pid, "code": os.waitstatus_to_exitcode(status)})

    def _tell(self, message: Mapping[str, Any]) -> None:
        # When nobody is there any more who could be told, the input has ended too.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._told, json.dumps(message).encode() + b"\n")


def main() -> None:
    """Serve: ``python -m aexp.processes.forkserver FOLDER PREPARE ARGUMENT …``.

    ``PREPARE`` is a function ``module:name`` that imports what every process needs. The folder is
    removed at the end; an empty name stands for none.
    """
    folder, prepare, *arguments = sys.argv[1:]
    # As the command line, see aexp.__main__.
    gc.disable()
    # uvloop leaves copies of its own ends open: a child that had them would keep the end of this
    # process from being seen.
    os.closerange(STREAMS, os.sysconf("SC_OPEN_MAX"))
    try:
        _find(prepare)(*arguments)
        _Server().run()
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
