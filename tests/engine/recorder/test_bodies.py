"""Records become bodies, in files that outlive their process and are read when it is dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aexp.engine.recorder.bodies import StepBody, step_bodies
from aexp.engine.recorder.files import FileWriter, reading_records
from aexp.engine.recorder.records import (
    Record,
    StepBegan,
    StepCall,
    StepEnded,
    StepRecorded,
    format_record,
)


def at(epoch: float, step_id: int | None = 1) -> dict[str, Any]:
    return {"workflow_id": "w", "step_id": step_id, "pid": 7, "at": epoch, "epoch": epoch}


def began(epoch: float, step_id: int = 1, attempt: int = 1) -> StepBegan:
    return StepBegan(**at(epoch, step_id), name="charge", attempt=attempt, site="flows.py:3")


def body(**changes: Any) -> StepBody:
    return StepBody(
        **{
            "workflow_id": "w", "step_id": 1, "name": "charge", "attempt": 1,
            "transactional": False, "arguments": "", "site": "flows.py:3", "began": 1.0, **changes,
        }
    )  # fmt: skip


def test_each_body_has_its_end_and_the_last_one_its_checkpoint() -> None:
    records: list[Record] = [
        StepCall(**at(0.5), name="charge", arguments="", digest="", site=None),
        began(1.0),
        StepEnded(**at(2.0), error="ValueError: not yet"),
        began(3.0, step_id=2),
        began(4.0, attempt=2),
        StepEnded(**at(5.0, 2)),
        StepEnded(**at(6.0)),
        StepRecorded(**at(7.0)),
        # A workflow's body has no number.
        StepEnded(**at(8.0, None)),
        began(9.0, step_id=3),
    ]

    assert list(step_bodies(records)) == [
        body(ended=2.0, error="ValueError: not yet"),
        body(attempt=2, began=4.0, ended=6.0, recorded=7.0),
        body(step_id=2, began=3.0, ended=5.0),
        body(step_id=3, began=9.0),
    ]


def read(path: Path) -> list[Record] | None:
    with reading_records(path) as records:
        return None if records is None else list(records)


WRITER = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from aexp.engine.recorder.files import FileWriter
from tests.engine.recorder.test_bodies import began
write = FileWriter(sys.argv[1])
write(began(1.0))
print("written", flush=True)
signal.pause()
"""


def test_a_file_is_read_when_its_process_is_dead_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "r"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "written\n"
            assert read(path) is None
        finally:
            os.kill(process.pid, signal.SIGKILL)
    assert read(path) == [began(1.0)]


def test_a_file_that_is_gone_is_no_recording(tmp_path: Path) -> None:
    assert read(tmp_path / "r") is None


@pytest.mark.parametrize("text", ["\u2028 a line of its own", "half \udce9", "NUL \0"])
def test_any_text_comes_back(tmp_path: Path, text: str) -> None:
    write = FileWriter(tmp_path / "r")
    record = StepEnded(**at(2.0), error=text)
    write(record)
    write.close()
    assert read(tmp_path / "r") == [record]
    assert format_record(record).count(b"\n") == 1


def test_what_comes_after_the_closing_is_dropped(tmp_path: Path) -> None:
    write = FileWriter(tmp_path / "r")
    write.close()
    # Its number is now another file's.
    with (tmp_path / "other").open("wb") as other:
        write(began(1.0))
        write.close()
        other.write(b"untouched")
    assert read(tmp_path / "r") == []
    assert (tmp_path / "other").read_bytes() == b"untouched"
