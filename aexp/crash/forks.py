"""A process that has imported everything and forks one fresh process for each life of a worker.

Interpreter and imports take most of a second, a fork takes milliseconds. It stays single-threaded
and never runs an event loop, so a forked process begins as a started one does: a real process with
a pid, a session and a SIGKILL of its own. It reads an order a line on stdin (JSON) and tells on
stdout, a JSON object a line, what was started and how it ended. At the end of its stdin, however
that came about, it kills what still lives, removes the folder of all that they wrote, and ends.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

__all__ = ["main"]

# What a forked process does with its order; the exit code.
Life = Callable[[Mapping[str, Any]], int]

_CHUNK = 65_536


def serve(life: Life, folder: str) -> None:
    """Fork a process for each order until stdin ends; then ``folder`` is removed."""
    _Server(life).run()
    shutil.rmtree(folder, ignore_errors=True)


class _Server:
    """Orders in, processes out, and their ends told."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._alive: set[int] = set()
        self._tell = os.fdopen(os.dup(1), "w", encoding="utf-8")
        # What the modules of a user print is no message of ours.
        os.dup2(2, 1)
        # Held open by this process alone: a forked one that reads its end knows that it is alone.
        self._lifeline, self._held = os.pipe()
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._woken, False)

    def run(self) -> None:
        """Serve until stdin ends, then leave nothing behind."""
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # Whatever is collected later would be copied in each fork.
        gc.collect()
        gc.freeze()
        self._say({"ready": os.getpid()})
        pending = b""
        with selectors.DefaultSelector() as selector:
            selector.register(0, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select()}
                if self._woken in ready:
                    self._reap()
                if 0 in ready:
                    chunk = os.read(0, _CHUNK)
                    if not chunk:
                        break
                    *orders, pending = (pending + chunk).split(b"\n")
                    for order in orders:
                        self._fork(json.loads(order))
        for pid in self._alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def _fork(self, order: Mapping[str, Any]) -> None:
        if threading.active_count() > 1:
            # A lock that another thread holds would stay locked in the child for ever.
            raise RuntimeError(f"cannot fork beside threads: {threading.enumerate()}")
        pid = os.fork()
        if pid == 0:
            self._begin_life(order)
        # In both, so that its group exists before anybody hears of it.
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(pid, pid)
        self._alive.add(pid)
        self._say({"order": order["order"], "pid": pid})

    def _begin_life(self, order: Mapping[str, Any]) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setpgid(0, 0)
            os.dup2(self._lifeline, 0)
            for descriptor in (self._lifeline, self._held, self._woken, self._wake):
                os.close(descriptor)
            self._tell.close()
            log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)
            os.environ.update(order["environment"])
            code = self._life(order)
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
        while self._alive:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._alive.discard(pid)
            # What it started itself does not outlive it.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            self._say({"pid": pid, "code": os.waitstatus_to_exitcode(status)})

    def _say(self, message: Mapping[str, Any]) -> None:
        self._tell.write(json.dumps(message) + "\n")
        self._tell.flush()


def main() -> None:
    """``python -m aexp.crash.forks TARGET FOLDER``: import everything, and serve."""
    from aexp.crash.worker import live, warm  # noqa: PLC0415 - what takes so long

    target, folder = sys.argv[1:]
    warm(target)
    serve(live, folder)


if __name__ == "__main__":
    main()
