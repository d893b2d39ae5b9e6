"""Keep records in a file: appended while a process lives, read when it is dead."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from aexp.engine.recorder.records import Record, StepRecorded, format_record, parse_records

__all__ = ["FileWriter", "reading_records"]


class FileWriter:
    """Appends records to a file, each whole or not at all, however this process ends.

    Nothing is flushed to the disk: what is appended outlives the process, not the machine. The file
    is locked until it is closed, which the end of the process does too; and while it lives this
    process must not open it a second time, since closing that would free the lock. One that several
    processes append to is ``shared``, and locked by none.
    """

    def __init__(self, path: str | Path, *, shared: bool = False) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._closing = threading.Lock()
        self._closed = False
        self._waiting = b""
        if not shared:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def __call__(self, record: Record) -> None:
        """Append ``record``, in one write; one that comes after the closing is dropped.

        That a step is recorded is written with what comes next: nothing is wrong without it.
        """
        line = format_record(record)
        with self._closing:
            self._waiting += line
            if not isinstance(record, StepRecorded):
                self._write()

    def close(self) -> None:
        """Close the file, whatever step may still be running."""
        with self._closing:
            if not self._closed:
                try:
                    self._write()
                finally:
                    self._closed = True
                    os.close(self._descriptor)

    def _write(self) -> None:
        # The number of a descriptor that is closed is soon another file's.
        if self._waiting and not self._closed:
            os.write(self._descriptor, self._waiting)
        self._waiting = b""


@contextmanager
def reading_records(path: str | Path) -> Iterator[Iterator[Record] | None]:
    """Read the records of a file whose writer is no more; None while it lives, and where there is
    no such file.
    """
    records = None
    with ExitStack() as stack:
        with suppress(OSError):
            # For writing too, which locking asks for.
            file = stack.enter_context(
                Path(path).open("r+", encoding="utf-8", errors="replace", newline="\n")
            )
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            records = parse_records(file)
        yield records
