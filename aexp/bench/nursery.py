"""Where cells come from: ``python -m aexp.bench.nursery`` has everything imported, and forks.

What interpreter and imports take, most of a second, is paid once a round and not for every cell. An
order comes as a line on stdin; what came of it goes as a line to stdout, and then how the process
ended, when nothing that it has started lives any more. Stdin stays open for as long as the bench
lives: at its end the cell is killed with all that it has started, whatever it does.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import sys
import traceback
from contextlib import suppress
from typing import Any, NoReturn

__all__ = ["main"]

# What cells would import one after the other. Not above: worker processes of a cell import this
# module, since it is the main one, and have no use for these.
_FOR_CELLS = (
    "aexp.bench.cell",
    "psycopg",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "uvloop",
)


def main() -> None:
    """Carry out orders until stdin ends."""
    for name in _FOR_CELLS:
        importlib.import_module(name)
    # A signal that wakes select: a child has ended.
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    # What is here now is no garbage of any cell's.
    gc.collect()
    gc.freeze()
    while line := _read_line():
        pid = os.fork()
        if pid == 0:
            _become_cell(line)
        with suppress(PermissionError):
            # As the child does: whoever comes first.
            os.setpgid(pid, pid)
        try:
            _tell({"pid": pid})
            ended = _has_ended(pid, woken)
        finally:
            # Also when nobody is there any more who could be told.
            status = _reap(pid)
        if not ended:
            return
        _tell({"ended": os.waitstatus_to_exitcode(status)})


def _read_line() -> bytes:
    """The next line on stdin; empty at its end. Byte by byte: nothing is taken that comes later."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return b""
        line += byte
    return bytes(line)


def _tell(told: dict[str, Any], to: int = 1) -> None:
    line = json.dumps(told).encode() + b"\n"
    while line:
        line = line[os.write(to, line) :]


def _has_ended(pid: int, woken: int) -> bool:
    """Wait for the child's end and leave it to be reaped; False when stdin ended before."""
    options = os.WEXITED | os.WNOWAIT | os.WNOHANG
    while os.waitid(os.P_PID, pid, options) is None:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
        # Nothing is sent while a cell is at work.
        elif not os.read(0, 1):
            return False
    return True


def _reap(pid: int) -> int:
    """Kill what the child has left behind, while its number is still its own; its wait status."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def _become_cell(line: bytes) -> NoReturn:
    """Be the cell that ``line`` orders, to the end of this process."""
    from aexp.bench.cell import Order, carry_out  # noqa: PLC0415 - see _FOR_CELLS
    from aexp.log import configure_logging  # noqa: PLC0415

    code = 1
    told = os.dup(1)
    try:
        with suppress(PermissionError):
            os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        # What a workload or a library prints is no part of what is told.
        os.dup2(2, 1)
        order = Order.from_line(line)
        configure_logging("json", "warning")
        _tell({"came_of_it": carry_out(order)}, told)
        code = 0
    except BaseException as error:
        traceback.print_exc()
        first = _first(error)
        _tell({"failed": f"{type(first).__name__}: {' '.join(str(first).split())}"}, told)
    finally:
        sys.stderr.flush()
        # Nothing of the nursery's is to be run to its end here.
        os._exit(code)


def _first(error: BaseException) -> BaseException:
    """The error itself, or the first that a task group wrapped."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    main()
