"""Recordings: what the processes of a run note of their steps, in files that outlive them, and then
in the table ``aexp.step_bodies``.

A process writes its file without a commit, so that the steps wait for nothing. It reads the file
into the table at its end, and those of processes that were killed when it begins.
"""

from __future__ import annotations

import errno
import os
import platform
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

from aexp.database.connect import Connection
from aexp.engine.recorder.bodies import StepBody, step_bodies
from aexp.engine.recorder.files import FileWriter, reading_records
from aexp.engine.recorder.records import Record
from aexp.engine.recorder.steps import record_steps

__all__ = ["Recording", "discard_recordings", "import_recordings"]

_FOLDER = "recordings"
_BODIES_AT_A_TIME = 5_000
_TRIES = 10
_COLUMNS = (
    "run_id", "process_no", "workflow_id", "step_id", "name", "attempt", "transactional",
    "arguments", "site", "began_at", "ended_at", "error", "recorded_at",
)  # fmt: skip

log = structlog.stdlib.get_logger("aexp.runs.recordings")


class Recording:
    """Records the steps of this process from its start until it is closed.

    Made outside the loop, since that makes a file; started in the loop's thread. ``path`` is the
    file, below the folder ``home``; None where none can be written, of which a line of the log
    tells. ``observe`` is called after each record is written.
    """

    def __init__(self, home: Path, run_id: str, observe: Callable[[Record], None]) -> None:
        self.path: Path | None = None
        self._observe = observe
        self._writer: FileWriter | None = None
        path = home.absolute() / _FOLDER / f"{run_id}.{secrets.token_hex(8)}"
        try:
            self._writer = _new_file(path)
            self.path = path
        except OSError as error:
            log.warning("recording.not_written", path=str(path), error=str(error))
        self._recording = ExitStack()

    def start(self) -> None:
        """Record from now on."""
        self._recording.enter_context(record_steps(self, calls=False))

    def __call__(self, record: Record) -> None:
        """Record one thing; never raises for want of room on the disk."""
        if self._writer is not None:
            try:
                self._writer(record)
            except OSError as error:
                self._give_up(self._writer, error)
        self._observe(record)

    def _give_up(self, writer: FileWriter, error: OSError) -> None:
        # A recording with gaps proves nothing, and a step is not to fail because of it. Where its
        # file is gone nobody takes it for read.
        self._writer = None
        writer.close()
        assert self.path is not None
        self.path.unlink(missing_ok=True)
        log.warning("recording.given_up", path=str(self.path), error=str(error))

    def close(self) -> None:
        """Record no more."""
        self._recording.close()
        if self._writer is not None:
            try:
                self._writer.close()
            except OSError as error:
                self._give_up(self._writer, error)


def _new_file(path: Path) -> FileWriter:
    folder = path.parent
    for _ in range(_TRIES):
        # The server's own user passes through, see aexp.database.cluster.
        mode = 0o711 if os.geteuid() == 0 else 0o700
        folder.parent.mkdir(mode=mode, parents=True, exist_ok=True)
        # Another process may remove the folder in between, when it is empty.
        with suppress(FileNotFoundError):
            folder.mkdir(mode=0o700, exist_ok=True)
            return FileWriter(path)
    raise FileNotFoundError(errno.ENOENT, "the folder is removed again and again", str(folder))


async def import_recordings(connection: Connection, run_id: str) -> None:
    """Read the recordings of the run's processes on this machine that record no more."""
    for process_no, path in await _unread(connection, run_id):
        with reading_records(path) as records:
            if records is not None:
                await _import(connection, run_id, process_no, step_bodies(records))
        if records is not None:
            await _remove(path)


async def discard_recordings(connection: Connection, run_id: str) -> None:
    """Remove the recordings on this machine that nobody has read, of a run that is deleted."""
    for _, path in await _unread(connection, run_id):
        await _remove(path)


async def _remove(path: Path) -> None:
    """Remove a recording, and the folders that are for nothing else when they are empty."""
    await anyio.Path(path).unlink(missing_ok=True)
    with suppress(OSError):
        await anyio.Path(path.parent).rmdir()
        await anyio.Path(path.parent.parent).rmdir()


async def _unread(connection: Connection, run_id: str) -> list[tuple[int, Path]]:
    rows = await connection.fetch(
        "SELECT process_no, recording FROM aexp.processes"
        " WHERE run_id = $1 AND recording IS NOT NULL AND NOT recorded AND host = $2"
        " ORDER BY process_no",
        run_id,
        platform.node(),
    )
    return [(row["process_no"], Path(row["recording"])) for row in rows]


async def _import(
    connection: Connection, run_id: str, process_no: int, bodies: Iterator[StepBody]
) -> None:
    def some() -> list[tuple[object, ...]]:
        return [_row(run_id, process_no, body) for body in islice(bodies, _BODIES_AT_A_TIME)]

    async with connection.transaction():
        # Who comes at the same time waits here, and then finds it done.
        taken = await connection.fetchval(
            "UPDATE aexp.processes SET recorded = true WHERE process_no = $1 AND NOT recorded"
            " RETURNING true",
            process_no,
        )
        while taken and (rows := await anyio.to_thread.run_sync(some)):
            await connection.copy_records_to_table(
                "step_bodies", schema_name="aexp", columns=_COLUMNS, records=rows
            )


def _row(run_id: str, process_no: int, body: StepBody) -> tuple[object, ...]:
    return (
        run_id,
        process_no,
        _text(body.workflow_id),
        body.step_id,
        _text(body.name),
        body.attempt,
        body.transactional,
        _text(body.arguments),
        None if body.site is None else _text(body.site),
        _time(body.began),
        _time(body.ended),
        None if body.error is None else _text(body.error),
        _time(body.recorded),
    )


def _text(text: str) -> str:
    # PostgreSQL takes neither a NUL nor half of a surrogate pair.
    return text.replace("\0", "\\0").encode(errors="backslashreplace").decode()


def _time(epoch: float | None) -> datetime | None:
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC)
