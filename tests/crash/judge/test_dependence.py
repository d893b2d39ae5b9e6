"""What may follow from a step that returns something else in each run, and what cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aexp.crash.judge.evidence import (
    Evidence,
    StepRecord,
    StreamEntry,
    TableContent,
    WorkflowRecord,
)
from aexp.crash.judge.fault_free import ReplayedRun, RunOutcome
from aexp.crash.judge.notes import describe_point
from aexp.crash.judge.verdicts import PROMISES
from tests.support.histories import (
    ROOT,
    began,
    broken,
    called,
    compared,
    history,
    stored,
    table,
    wrote,
)

ROWS = next(promise for promise in PROMISES if promise.name == "same_rows")
EVENTS = next(promise for promise in PROMISES if promise.name == "same_events")
STREAMS = next(promise for promise in PROMISES if promise.name == "same_streams")
RESULT = next(promise for promise in PROMISES if promise.name == "same_result")
KEPT = next(promise for promise in PROMISES if promise.name == "checkpoints_kept")
AGAIN = next(promise for promise in PROMISES if promise.name == "never_again")

TWO = table({"name": "a"}, {"name": "b"})
ONE = table({"name": "b"})


def flushed(order: str, content: TableContent, *, asked: object = "all") -> Evidence:
    """An id is made, which no two runs share, and a step writes what another one has gathered."""
    return history(
        ("make_id", order),
        ("flush", None),
        tables={"public.items": content},
        records=[called(1, at=1.0, name="make_id"), called(2, asked, at=2.0, name="flush")],
    )


RUNS = [flushed(f"id-{number}", TWO) for number in range(3)]


def test_a_row_that_is_lost_beside_an_id_is_found() -> None:
    lost = compared(flushed("id-9", ONE), *RUNS)
    assert broken(ROWS, lost) == ["rows_missing"]
    assert broken(ROWS, compared(flushed("id-9", TWO), *RUNS)) == []


def test_a_row_less_that_may_follow_from_the_id_is_told_and_not_broken() -> None:
    runs = [flushed(f"id-{number}", TWO, asked=f"id-{number}") for number in range(3)]
    beside = compared(flushed("id-9", ONE, asked="id-9"), *runs)
    assert broken(ROWS, beside) == []
    (note,) = describe_point(beside)
    assert note.kind == "rows_not_judged"
    assert "ends with 1, not 2 rows" in note.summary
    assert "`make_id`" in note.summary
    assert describe_point(compared(flushed("id-9", TWO, asked="id-9"), *runs)) == []


def test_rows_more_that_follow_from_a_longer_list_are_not_broken() -> None:
    def inserted(*names: str) -> Evidence:
        content = table(*({"name": name} for name in names))
        return history(("fetch", list(names)), ("insert", None), tables={"public.items": content})

    known = [inserted("a", "b")] * 3
    assert broken(ROWS, compared(inserted("a", "b", "c"), *known)) == []
    doubled = replace(inserted("a", "b"), tables=inserted("a", "b", "b").tables)
    assert broken(ROWS, compared(doubled, *known)) == ["rows_repeated"]


def polled(times: int, content: TableContent, *, answer: object = 1) -> Evidence:
    polls = [part for _ in range(times) for part in (("DBOS.sleep", 9), ("DBOS.getEvent", None))]
    return history(
        ("collect", None),
        *polls,
        ("DBOS.sleep", 9),
        ("DBOS.getEvent", answer),
        ("flush", None),
        tables={"public.items": content},
        records=[called(2 * times + 4, at=9.0, name="flush")],
    )


def test_a_row_that_is_lost_beside_a_poll_is_found() -> None:
    runs = [polled(number, TWO) for number in (1, 3, 2)]
    assert broken(ROWS, compared(polled(5, ONE), *runs)) == ["rows_missing"]
    assert broken(ROWS, compared(polled(5, TWO), *runs)) == []


def test_another_answer_explains_what_follows() -> None:
    runs = [polled(number, TWO) for number in (1, 3, 2)]
    beside = compared(polled(2, ONE, answer=7), *runs)
    assert broken(ROWS, beside) == []
    assert [note.kind for note in describe_point(beside)] == ["rows_not_judged"]


def test_a_read_that_times_out_explains_another_result() -> None:
    def read(value: object) -> Evidence:
        return history(("DBOS.getEvent", value), ("DBOS.getEvent", 2), result=value)

    beside = compared(read(None), read(5), read(5))
    assert broken(RESULT, beside) == []
    (note,) = describe_point(beside)
    assert "depends on step `DBOS.getEvent`, which returned something else" in note.summary


def test_a_child_after_a_poll_is_the_same_child() -> None:
    def asked(times: int, said: str) -> Evidence:
        polls = [("DBOS.getStatus", number) for number in range(times)]
        run = history(*polls, ("pay", None))
        steps = [*run.steps[:-1], replace(run.steps[-1], child_id="child")]
        child = WorkflowRecord("child", "pay", "SUCCESS", parent_id=ROOT)
        of_child = StepRecord("child", 1, "DBOS.setEvent")
        said_it = replace(history(events={"said": said}).events[0], workflow_id="child")
        return replace(
            run,
            steps=[*steps, of_child],
            workflows=[*run.workflows, child],
            events=[said_it],
        )

    runs = [asked(number, "yes") for number in (1, 2, 1)]
    assert broken(EVENTS, compared(asked(3, "no"), *runs)) == ["event_differs"]
    assert broken(EVENTS, compared(asked(3, "yes"), *runs)) == []


def streamed(order: str, value: object) -> Evidence:
    return history(("make_id", order), ("DBOS.writeStream", None), entries=[("s", 2, value)])


def again(*entries: StreamEntry) -> ReplayedRun:
    return ReplayedRun(True, RunOutcome("SUCCESS", None), {}, entries=entries)


def test_an_entry_that_the_body_makes_otherwise_from_the_same_steps_is_found() -> None:
    runs = [streamed(f"id-{number}", 2) for number in range(3)]
    from_memory = again(StreamEntry(ROOT, "s", 2, stored(0)))
    lost = compared(streamed("id-9", 1), *runs, replayed=from_memory)
    assert broken(STREAMS, lost) == ["stream_differs"]
    of_steps = again(StreamEntry(ROOT, "s", 2, stored(2)))
    assert broken(STREAMS, compared(streamed("id-9", 1), *runs, replayed=of_steps)) == []


def test_an_event_that_is_not_set_again_from_the_same_steps_is_found() -> None:
    def announced(order: str, *, told: bool) -> Evidence:
        steps: Sequence[tuple[str, object]] = [("DBOS.setEvent", None)] if told else []
        return history(("make_id", order), *steps, events={"seen": 2} if told else {})

    runs = [announced(f"id-{number}", told=True) for number in range(3)]
    silent = announced("id-9", told=False)
    assert broken(EVENTS, compared(silent, *runs, replayed=again())) == ["event_differs"]
    made = replace(again(), events={"seen": stored(2)})
    assert broken(EVENTS, compared(silent, *runs, replayed=made)) == []


REWIND = "delete dbos.operation_outputs + update dbos.workflow_status ENQUEUED"
DELETION = "delete dbos.operation_outputs + delete dbos.workflow_status"


def test_what_dbos_was_asked_to_forget_is_not_lost() -> None:
    run = history(("pay", 1), records=[began(1, at=0.5), began(1, at=3.0, life=0)])
    rewound = replace(run, writes=[wrote(REWIND, life=0, at=2.0, workflow=ROOT)])
    assert broken(AGAIN, compared(rewound, run)) == []
    assert broken(AGAIN, compared(run, run)) == ["body_repeated"]
    other = replace(run, writes=[wrote(REWIND, life=0, at=2.0, workflow="other")])
    assert broken(AGAIN, compared(other, run)) == ["body_repeated"]


def test_the_checkpoints_of_a_workflow_that_was_deleted_are_not_lost() -> None:
    run = history(("pay", 1))
    deleted = replace(run, workflows=[], steps=[], writes=[wrote(DELETION, life=0, at=2.0)])
    assert broken(KEPT, compared(deleted, run)) == []
    # Somebody deletes the rows of steps, and the workflow stays.
    lost = replace(run, steps=[], writes=[wrote("delete dbos.operation_outputs", life=0, at=2.0)])
    assert broken(KEPT, compared(lost, run)) == ["checkpoint_lost"]
    gone = replace(run, workflows=[], steps=[])
    assert broken(KEPT, compared(gone, run)) == ["checkpoint_lost"]
