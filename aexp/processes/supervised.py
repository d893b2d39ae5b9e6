"""Be the child of a supervisor: report progress to it, and end when it is gone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from typing import NoReturn, TextIO

import anyio
import anyio.abc
import structlog

from aexp.errors import Interrupted
from aexp.processes.progress import Progress
from aexp.processes.signals import Stop

__all__ = ["await_supervisor_gone", "kill_this_process", "report_progress"]

log = structlog.stdlib.get_logger("aexp.processes.supervised")
_LEAST_INTERVAL_S = 0.001
_LAST_RESORT_S = 10.0


async def report_progress(progress: Progress, out: TextIO) -> None:
    """Tell the supervisor on ``out`` how far ``progress`` has come, until cancelled.

    A line for each change that it can keep up with, flushed at once: the process may be killed in
    the next instant.
    """
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()

    def notify() -> None:
        loop.call_soon_threadsafe(changed.set)

    progress.observe(notify)
    while True:
        await changed.wait()
        changed.clear()
        state = progress.snapshot()
        line = {
            "done": state.done,
            "total": state.total,
            "steps": state.steps,
            "memory": state.memory,
        }
        out.write(json.dumps(line) + "\n")
        out.flush()
        await anyio.sleep(_LEAST_INTERVAL_S)


def kill_this_process(out: TextIO) -> NoReturn:
    """Tell the supervisor on ``out`` that the kill is meant, and kill this process (SIGKILL), in
    whatever thread.
    """
    # Past the buffer, in which half of another line may stand: a pipe takes short lines whole.
    os.write(out.fileno(), b'{"kills_itself": true}\n')
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nothing survives SIGKILL")


async def await_supervisor_gone(stop: Stop, drain_timeout_s: float) -> None:
    """Ask to stop when the supervisor at the other end of stdin is no more.

    The process ends soon after its drain should have, come what may: should the database be gone as
    well, DBOS would wait for it for ever, and nobody would be left to end the process.
    """
    while True:
        await anyio.wait_readable(sys.stdin)
        if not os.read(sys.stdin.fileno(), 1):
            log.warning("supervisor.gone")
            last_resort = threading.Timer(
                drain_timeout_s + _LAST_RESORT_S, os._exit, [Interrupted.exit_code]
            )
            last_resort.daemon = True
            last_resort.start()
            stop.ask()
            return
