"""The timeline of a run, from rows that are made up."""

from __future__ import annotations

import base64
import json
import pickle
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import pytest

from aexp.model.run import ProcessRecord
from aexp.viewer.drawing import draw_timeline
from aexp.viewer.timeline import BodyRow, Lane, StepRow, Timeline, WorkflowRow
from aexp.viewer.values import MOST_CHARACTERS, shorten, stored_text

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)
T0 = round(BEGAN.timestamp() * 1000)


def process(number: int, began: int, ended: int | None, how: str | None) -> ProcessRecord:
    def at(ms: int) -> datetime:
        return BEGAN + timedelta(milliseconds=ms)

    ending = at(ended) if ended is not None else None
    return ProcessRecord(number, 100 + number, "local", at(began), ending, how, None)


def workflow(workflow_id: str = "run", **fields: Any) -> WorkflowRow:
    given: dict[str, Any] = {
        "name": "w", "parent_id": None, "queue": None, "status": "SUCCESS", "created_ms": T0,
        "started_ms": T0, "completed_ms": T0 + 9_000, "attempts": 1,
    }  # fmt: skip
    return WorkflowRow(workflow_id=workflow_id, **(given | fields))


def step(began: int, ended: int, **fields: Any) -> StepRow:
    given: dict[str, Any] = {"workflow_id": "run", "function_id": 1, "name": "s"}
    return StepRow(began_ms=T0 + began, ended_ms=T0 + ended, **(given | fields))


def body(process_no: int, began: int, **fields: Any) -> BodyRow:
    given: dict[str, Any] = {"workflow_id": "run", "step_id": 1, "step": "s"}
    return BodyRow(pid=100 + process_no, began_ms=T0 + began, **(given | fields))


KILLED = (process(1, 0, 1_000, "killed by SIGKILL"), process(2, 2_000, 9_000, "completed"))


def draw(
    processes: Sequence[ProcessRecord] = KILLED,
    workflows: Sequence[WorkflowRow] = (workflow(),),
    steps: Sequence[StepRow] = (),
    bodies: Sequence[BodyRow] = (),
    *,
    alive: bool = False,
    now: int = 20_000,
    **truncated: int,
) -> Timeline:
    return draw_timeline(
        processes,
        workflows,
        steps,
        bodies,
        created_ms=T0 - 500,
        now_ms=T0 + now,
        alive=alive,
        truncated=truncated,
    )


def only_lane(timeline: Timeline) -> Lane:
    (lane,) = timeline.lanes
    return lane


def test_times_are_relative_to_the_first_trace() -> None:
    timeline = draw(steps=[step(100, 150)])
    assert timeline.began_at == T0
    assert timeline.ended_at == T0 + 9_000
    (bar,) = only_lane(timeline).bars
    assert (bar.began, bar.ended, bar.process, bar.outcome) == (100, 150, 0, "ok")


def test_a_run_that_has_not_begun_is_empty() -> None:
    timeline = draw(processes=(), workflows=())
    assert (timeline.began_at, timeline.ended_at) == (T0 - 500, T0 - 500)
    assert timeline.lanes == []
    assert timeline.processes == []


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("killed by SIGKILL", "killed"),
        ("completed", "completed"),
        ("interrupted", "interrupted"),
        ("vanished", "vanished"),
        ("failed", "failed"),
        ("something new", "failed"),
    ],
)
def test_how_a_process_ended(how: str, kind: str) -> None:
    (life,) = draw(processes=[process(1, 0, 10, how)]).processes
    assert (life.how, life.kind, life.seen) == (how, kind, True)


def test_a_process_that_lives_works_until_now() -> None:
    living = process(1, 0, None, None)
    (life,) = draw(processes=[living], alive=True).processes
    assert (life.kind, life.how, life.ended, life.seen) == (
        "working", "still working", 20_000, True,
    )  # fmt: skip


def test_a_process_that_nobody_saw_end_lived_until_its_last_trace() -> None:
    unseen = [process(1, 0, None, "vanished"), process(2, 3_000, 9_000, "completed")]
    first, _ = draw(
        processes=unseen,
        steps=[
            step(100, 150),
            # Planned to end long after: no trace of a living process.
            step(200, 2_500, function_id=2, name="DBOS.sleep"),
        ],
        bodies=[body(1, 700, step_id=3)],
    ).processes
    assert (first.kind, first.ended, first.seen) == ("vanished", 700, False)


def test_a_bar_is_of_the_process_that_was_alive_at_its_end() -> None:
    lane = only_lane(
        draw(
            steps=[
                step(900, 950, function_id=1),
                step(900, 2_100, function_id=2),
                step(900, 1_500, function_id=3, name="DBOS.sleep"),
            ]
        )
    )
    assert {bar.function_id: bar.process for bar in lane.bars} == {1: 0, 2: 1, 3: None}


def test_what_kind_of_bar_it_is() -> None:
    lane = only_lane(
        draw(
            steps=[
                step(1, 2, function_id=1),
                step(2, 3, function_id=2, name="DBOS.sleep"),
                step(3, 4, function_id=3, name="DBOS.getResult", child_workflow_id="c"),
                step(4, 5, function_id=4, name="child", child_workflow_id="c"),
                step(5, 6, function_id=5, error="ValueError: no"),
            ]
        )
    )
    assert [bar.kind for bar in lane.bars] == ["step", "sleep", "wait", "start", "step"]
    assert [bar.outcome for bar in lane.bars] == ["ok", "ok", "ok", "ok", "error"]


def fates(bodies: Sequence[BodyRow], steps: Sequence[StepRow] = (), **more: Any) -> list[Any]:
    lane = only_lane(draw(bodies=bodies, steps=steps, **more))
    return [
        (attempt.fate, attempt.began, attempt.ended, attempt.process) for attempt in lane.attempted
    ]


def test_a_body_that_came_to_its_checkpoint_is_no_attempt() -> None:
    assert fates([body(1, 100)], [step(90, 150)]) == []


def test_a_body_is_lost_with_its_process_and_done_again() -> None:
    found = fates([body(1, 900), body(2, 2_100)], [step(2_090, 2_200)])
    assert found == [("lost", 900, 1_000, 0)]


def test_a_body_without_a_checkpoint_is_lost() -> None:
    assert fates([body(1, 900)], workflows=[workflow(completed_ms=None)]) == [
        ("lost", 900, 1_000, 0)
    ]


def test_a_body_that_raised_is_tried_again_in_its_process() -> None:
    found = fates([body(1, 100), body(1, 130)], [step(90, 150)])
    assert found == [("failed", 100, 130, 0)]


def test_a_transaction_that_was_durable_before_the_kill_is_kept() -> None:
    # Its body ran once, and its checkpoint was written by the next process.
    assert fates([body(1, 900)], [step(2_050, 2_060)]) == [("kept", 900, 1_000, 0)]


def test_a_body_that_began_after_its_checkpoint_is_repeated() -> None:
    found = fates([body(1, 100), body(2, 2_100, checkpointed=True)], [step(90, 150)])
    assert ("repeated", 2_100, 9_000, 1) in found


def test_a_body_of_a_living_process_is_running() -> None:
    found = fates(
        [body(1, 100)],
        processes=[process(1, 0, None, None)],
        workflows=[workflow(status="PENDING", completed_ms=None)],
        alive=True,
    )
    assert found == [("running", 100, 20_000, 0)]


def test_a_pid_that_came_again_is_told_apart_by_time() -> None:
    twice = [process(1, 0, 1_000, "killed by SIGKILL"), process(1, 2_000, 9_000, "completed")]
    assert fates([body(1, 900), body(1, 2_100)], [step(2_090, 2_200)], processes=twice) == [
        ("lost", 900, 1_000, 0)
    ]


def test_lanes_are_a_tree_parents_first() -> None:
    timeline = draw(
        workflows=[
            workflow("run.2.10", created_ms=T0 + 10, queue="q"),
            workflow("run.2.9", created_ms=T0 + 10, queue="q"),
            workflow("run"),
            workflow("named", created_ms=T0 + 5, parent_id="run"),
            workflow("told", created_ms=T0 + 20, queue="_dbos_internal_queue"),
            workflow("foreign.1.2", created_ms=T0 + 30),
        ],
        steps=[step(15, 16, workflow_id="named", name="told", child_workflow_id="told")],
    )
    assert [(lane.workflow_id, lane.depth, lane.parent) for lane in timeline.lanes] == [
        ("run", 0, None),
        ("named", 1, 0),
        ("told", 2, 1),
        ("run.2.9", 1, 0),
        ("run.2.10", 1, 0),
        ("foreign.1.2", 0, None),
    ]
    assert [lane.mode for lane in timeline.lanes] == [
        "direct", "direct", "direct", "queued", "queued", "direct",
    ]  # fmt: skip


def test_workflows_that_name_each_other_as_parents_are_shown_once() -> None:
    timeline = draw(workflows=[workflow("a", parent_id="b"), workflow("b", parent_id="a")])
    assert sorted(lane.workflow_id for lane in timeline.lanes) == ["a", "b"]


def test_a_parent_that_is_not_shown_is_named_all_the_same() -> None:
    lane = only_lane(draw(workflows=[workflow("a", parent_id="elsewhere")]))
    assert (lane.parent_id, lane.parent, lane.depth) == ("elsewhere", None, 0)


def test_a_recovered_workflow_began_with_its_first_step() -> None:
    lane = only_lane(draw(workflows=[workflow(started_ms=T0 + 2_500)], steps=[step(50, 60)]))
    assert (lane.began, lane.started) == (50, 2_500)


def test_as_json_is_plain_and_names_its_columns() -> None:
    timeline = draw(steps=[step(1, 2, output="'x'")], bodies=[body(1, 900)], lanes=3, bars=0)
    told = json.loads(json.dumps(timeline.as_json()))
    (lane,) = told["lanes"]
    (bar,) = [dict(zip(told["columns"]["bars"], row, strict=True)) for row in lane["bars"]]
    assert bar["name"] == "s"
    assert bar["output"] == "'x'"
    assert bar["bodies"] == 1
    (life, _) = told["processes"]
    assert (life["pid"], life["kind"]) == (101, "killed")
    assert told["truncated"] == {"lanes": 3}


# --- texts of outputs ----------------------------------------------------------------------------


def pickled(value: object) -> str:
    return base64.b64encode(pickle.dumps(value)).decode()


class Mute:
    def __repr__(self) -> str:
        raise RuntimeError("I say nothing")


def refuse() -> NoReturn:
    raise RuntimeError("not me")


class Grudge:
    """Can be pickled, and not unpickled."""

    def __reduce__(self) -> Any:
        return refuse, ()


class Leaver:
    def __reduce__(self) -> Any:
        return sys.exit, (3,)


def test_values_of_both_formats() -> None:
    assert stored_text(pickled({"b": 1, "a": [1, (2,)]}), "py_pickle") == "{'b': 1, 'a': [1, (2,)]}"
    assert stored_text(pickled(ValueError("no")), None) == "ValueError: no"
    assert stored_text('{"a": "é"}', "portable_json") == "{'a': 'é'}"
    assert stored_text(None, "py_pickle") is None
    assert stored_text(pickled(None), "py_pickle") == "None"


@pytest.mark.parametrize(
    ("stored", "serialization", "told"),
    [
        (pickled(Mute()), "py_pickle", "Mute"),
        (pickled([Mute()]), "py_pickle", "Mute"),
        (pickled(Grudge()), "py_pickle", "cannot be decoded: RuntimeError: not me"),
        (pickled(Leaver()), "py_pickle", "cannot be decoded: SystemExit"),
        ("no base64", "py_pickle", "cannot be decoded"),
        (base64.b64encode(b"junk").decode(), "py_pickle", "cannot be decoded"),
        ("{", "portable_json", "cannot be decoded"),
        ("x", "of_my_own", "cannot be decoded: ValueError: its format 'of_my_own'"),
    ],
    ids=["repr", "inner repr", "refuses", "exits", "no base64", "no pickle", "no JSON", "format"],
)
def test_what_cannot_be_shown_is_said_to_be_so(stored: str, serialization: str, told: str) -> None:
    text = stored_text(stored, serialization)
    assert text is not None
    assert told in text


def test_a_text_is_short_however_large_the_value() -> None:
    shared: list[Any] = ["x"]
    for _ in range(40):
        shared = [shared] * 40
    itself: dict[str, Any] = {}
    itself["itself"] = itself
    for value in (shared, itself, "x" * 1_000_000, list(range(100_000)), {"k": [0] * 100_000}):
        text = stored_text(pickled(value), "py_pickle")
        assert text is not None
        assert len(text) <= MOST_CHARACTERS


def test_a_text_has_no_password_and_no_half_characters() -> None:
    assert "secret" not in shorten("postgresql://user:secret@host/name")
    assert shorten("\ud800").encode() == b"\\ud800"
    assert shorten("x" * 11, 10) == "x" * 9 + "…"
