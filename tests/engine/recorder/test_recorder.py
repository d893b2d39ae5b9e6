"""Every call, body and effect of real workflows is recorded, with the step that it belongs to."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from aexp.database import DatabaseUrl
from aexp.engine.recorder.records import (
    DeclaredEffect,
    Record,
    SeenEffect,
    StepBegan,
    StepCall,
    StepEnded,
    StepRecorded,
    parse_records,
)
from tests.conftest import TEMPLATE, scratch

PROGRAM = Path(__file__).parents[2] / "support" / "recorded.py"


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def records(
    request: pytest.FixtureRequest, server: DatabaseUrl, tmp_path_factory: pytest.TempPathFactory
) -> Sequence[Record]:
    """What was recorded of the program, on either loop."""
    with scratch(server, TEMPLATE) as url:
        done = subprocess.run(
            [sys.executable, PROGRAM, request.param, url.libpq],
            cwd=tmp_path_factory.mktemp("recorded"), capture_output=True, text=True, check=False,
            timeout=120,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return list(parse_records(io.StringIO(done.stdout)))


def names(records: Sequence[Record]) -> dict[tuple[str, int | None], str]:
    """The names of steps by workflow and number."""
    return {
        (record.workflow_id, record.step_id): record.name
        for record in records
        if isinstance(record, StepCall)
    }


def test_each_call_is_recorded_with_its_arguments_and_its_line(records: Sequence[Record]) -> None:
    calls = {
        record.name.rpartition(".")[2]: record for record in records if isinstance(record, StepCall)
    }
    assert set(calls) == {
        "in_async_step", "in_sync_step", "sell", "named", "second_try", "child"
    }  # fmt: skip
    assert calls["in_sync_step"].arguments == "(7,)"
    assert calls["child"].arguments == "('c',)"
    assert calls["sell"].arguments == "(<Shop main>, 'b')"
    lines = PROGRAM.read_text().splitlines()
    assert calls["named"].arguments == "('x',)"
    # It runs in a thread, whose stack says nothing of who asked.
    assert calls.pop("named").site is None
    for name, call in calls.items():
        assert call.site is not None, name
        file, _, line = call.site.rpartition(":")
        assert file.endswith("recorded.py")
        assert name in lines[int(line) - 1]


def test_each_body_is_recorded_from_its_begin_to_its_end(records: Sequence[Record]) -> None:
    known = names(records)
    began = [
        (known[record.workflow_id, record.step_id].rpartition(".")[2], record.attempt)
        for record in records
        if isinstance(record, StepBegan)
    ]
    assert sorted(began) == [
        ("in_async_step", 1), ("in_sync_step", 1), ("named", 1), ("second_try", 1),
        ("second_try", 2), ("sell", 1), ("sell", 1),
    ]  # fmt: skip
    ended = [record for record in records if isinstance(record, StepEnded)]
    assert len(ended) == len(began)
    assert [record.error for record in ended if record.error] == ["ValueError: not yet"]


def test_each_body_is_recorded_with_its_arguments_and_its_line(records: Sequence[Record]) -> None:
    bodies = {
        record.name.rpartition(".")[2]: record
        for record in records
        if isinstance(record, StepBegan)
    }
    assert bodies["in_sync_step"].arguments == "(7)"
    # Two run at the same time.
    assert bodies["sell"].arguments in {"(<Shop>, 'a')", "(<Shop>, 'b')"}
    lines = PROGRAM.read_text().splitlines()
    for name in ("in_async_step", "in_sync_step", "sell"):
        site = bodies[name].site
        assert site is not None, name
        assert name in lines[int(site.rpartition(":")[2]) - 1]


def test_a_step_is_known_to_be_durable_once_after_its_last_body(records: Sequence[Record]) -> None:
    place: dict[tuple[str, int | None], list[type[Record]]] = {}
    for record in records:
        if isinstance(record, StepBegan | StepEnded | StepRecorded):
            place.setdefault((record.workflow_id, record.step_id), []).append(type(record))
    once: list[type[Record]] = [StepBegan, StepEnded]
    retried = [*once, *once, StepRecorded]
    assert sorted(map(len, place.values())) == [3, 3, 3, 3, 3, 5]
    assert all(kinds in ([*once, StepRecorded], retried) for kinds in place.values())


def test_each_effect_belongs_to_its_step_or_to_the_body(records: Sequence[Record]) -> None:
    known = names(records)
    effects = {
        (record.kind, record.target, known.get((record.workflow_id, record.step_id), "body"))
        for record in records
        if isinstance(record, SeenEffect)
    }
    assert effects == {
        ("file", "async-body", "body"),
        ("file", "async-step", "in_async_step"),
        ("file", "thread-of-a-step", "in_async_step"),
        ("connection", "127.0.0.1:9", "in_async_step"),
        ("process", "true", "in_async_step"),
        ("file", "sync-body", "body"),
        ("connection", "127.0.0.1:9", "body"),
        ("file", "sync-step", "in_sync_step"),
    }
    assert all(
        record.site is not None and "recorded.py:" in record.site
        for record in records
        if isinstance(record, SeenEffect) and record.target != "thread-of-a-step"
    )


def test_declared_effects_are_recorded_with_and_without_await(records: Sequence[Record]) -> None:
    known = names(records)
    declared = {
        (record.name, record.key, record.idempotent, known[record.workflow_id, record.step_id])
        for record in records
        if isinstance(record, DeclaredEffect)
    }
    assert declared == {
        ("charge", "A17", False, "in_async_step"), ("mail", "7", True, "in_sync_step")
    }  # fmt: skip
