"""Recordings come into the database once, and only of processes that record no more."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from aexp.database.connect import Connection
from aexp.engine.recorder.files import FileWriter
from aexp.engine.recorder.records import Record, StepBegan, StepEnded, StepRecorded
from aexp.log import configure_logging
from aexp.model.run import Run
from aexp.runs.recordings import Recording, discard_recordings, import_recordings
from aexp.runs.store import begin_run, list_processes, record_start
from tests.support.log_lines import Lines

pytestmark = pytest.mark.asyncio

RUN = Run("r", "scope", "scope", {}, {}, "run-r")


def write_body(write: Callable[[Record], None], step_id: int) -> None:
    place: dict[str, Any] = {"workflow_id": "r", "step_id": step_id, "pid": 7, "at": 1.0}
    write(StepBegan(**place, epoch=1.0, name="charge", arguments="('a\0b',)", site="flows.py:3"))
    write(StepEnded(**place, epoch=2.0, error=None))
    write(StepRecorded(**place, epoch=3.0))


async def imported(connection: Connection) -> list[tuple[Any, ...]]:
    rows = await connection.fetch(
        "SELECT pid, step_id, name, attempt, arguments, site, recorded_at - began_at = '2 s'"
        " FROM aexp.step_bodies JOIN aexp.processes USING (process_no) ORDER BY step_id"
    )
    return [tuple(row)[1:] for row in rows]


async def test_a_recording_is_read_once_its_process_records_no_more(
    connection: Connection, tmp_path: Path
) -> None:
    await begin_run(connection, RUN)
    path = tmp_path / "recording"
    write = FileWriter(path)
    await record_start(connection, "r", "local", str(path))
    write_body(write, 1)
    # A lock is its process's: only another one sees it, see tests/engine/recorder.
    write.close()

    await import_recordings(connection, "r")
    await import_recordings(connection, "r")

    assert await imported(connection) == [
        (1, "charge", 1, "('a\\0b',)", "flows.py:3", True),
    ]
    assert not path.exists()
    assert [process.recorded for process in await list_processes(connection, "r")] == [True]


async def test_what_cannot_be_read_stays_unrecorded(connection: Connection, tmp_path: Path) -> None:
    await begin_run(connection, RUN)
    elsewhere = tmp_path / "elsewhere"
    write_body(FileWriter(elsewhere), 1)
    await record_start(connection, "r", "there", str(elsewhere))
    await connection.execute("UPDATE aexp.processes SET host = 'another.host'")
    await record_start(connection, "r", "local", None)
    await record_start(connection, "r", "local", str(tmp_path / "gone"))

    await import_recordings(connection, "r")

    assert await imported(connection) == []
    assert elsewhere.exists()
    assert not any(process.recorded for process in await list_processes(connection, "r"))


async def test_of_a_run_that_is_deleted_no_recording_is_left(
    connection: Connection, tmp_path: Path
) -> None:
    await begin_run(connection, RUN)
    path = tmp_path / "recording"
    write_body(FileWriter(path), 1)
    await record_start(connection, "r", "local", str(path))
    await discard_recordings(connection, "r")
    assert not path.exists()


async def test_without_a_folder_nothing_is_recorded_and_a_line_says_so(
    tmp_path: Path, logged: Lines
) -> None:
    configure_logging("json", "info")
    (tmp_path / "file").touch()
    seen: list[Any] = []
    with closing(Recording(tmp_path / "file" / "home", "r", seen.append)) as recording:
        recording.start()
        write_body(recording, 1)
    assert recording.path is None
    assert len(seen) == 3
    line = logged.only()
    assert (line["event"], "file/home" in line["path"]) == ("recording.not_written", True)


async def test_a_recording_with_gaps_is_given_up(
    tmp_path: Path, logged: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_writer: FileWriter, _record: Record) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    configure_logging("json", "info")
    seen: list[Any] = []
    with closing(Recording(tmp_path, "r", seen.append)) as recording:
        recording.start()
        assert recording.path is not None
        assert recording.path.exists()
        monkeypatch.setattr(FileWriter, "__call__", fail)
        write_body(recording, 1)
    assert not recording.path.exists()
    assert len(seen) == 3
    assert logged.only()["event"] == "recording.given_up"
