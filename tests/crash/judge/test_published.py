"""Events and streams beside those of runs without a fault."""

from __future__ import annotations

from typing import Any

from aexp.crash.judge.evidence import Evidence
from aexp.crash.judge.fault_free import ReplayedRun, RunOutcome
from aexp.crash.judge.verdicts import PROMISES
from tests.support.histories import broken, compared, history, stored

EVENTS = next(promise for promise in PROMISES if promise.name == "same_events")
STREAMS = next(promise for promise in PROMISES if promise.name == "same_streams")


def announced(value: Any, *, looked: object = 1) -> Evidence:
    return history(("look", looked), ("DBOS.setEvent", None), events={"seen": value})


def streamed(*values: object, looked: object = 1) -> Evidence:
    entries = [("log", 2, value) for value in values]
    return history(("look", looked), ("write", None), entries=entries)


def test_an_event_that_no_step_explains_is_broken() -> None:
    assert broken(EVENTS, compared(announced(1), announced(3))) == ["event_differs"]
    assert broken(EVENTS, compared(announced(3), announced(3))) == []


def test_an_event_that_a_step_explains_is_not() -> None:
    assert broken(EVENTS, compared(announced(1, looked=9), announced(3))) == []


def test_what_is_unsteady_of_an_event_is_left_out() -> None:
    runs = [announced({"at": n, "paid": True}) for n in range(3)]
    assert broken(EVENTS, compared(announced({"at": 9, "paid": True}), *runs)) == []
    assert broken(EVENTS, compared(announced({"at": 9, "paid": False}), *runs)) == ["event_differs"]


def test_beside_an_unsteady_step_a_replay_decides() -> None:
    runs = [announced(3, looked=n) for n in range(3)]
    counted = compared(announced(1, looked=9), *runs)
    assert broken(EVENTS, counted) == []
    replayed = ReplayedRun(True, RunOutcome("SUCCESS", None), {"seen": stored(0)})
    assert broken(EVENTS, compared(announced(1, looked=9), *runs, replayed=replayed)) == [
        "event_differs"
    ]
    replayed = ReplayedRun(True, RunOutcome("SUCCESS", None), {"seen": stored(3)})
    assert broken(EVENTS, compared(announced(1, looked=9), *runs, replayed=replayed)) == []


def test_an_event_that_is_missing_or_new_is_found() -> None:
    silent = history(("look", 1))
    assert broken(EVENTS, compared(silent, announced(3))) == ["event_differs"]
    assert broken(EVENTS, compared(announced(3), silent)) == ["event_differs"]
    assert broken(EVENTS, compared(silent, announced(3), silent)) == []


def test_entries_that_a_step_wrote_twice_are_found() -> None:
    assert broken(STREAMS, compared(streamed("a", "b"), streamed("a", "b"))) == []
    assert broken(STREAMS, compared(streamed("a", "a", "b"), streamed("a", "b"))) == [
        "stream_repeated", "stream_differs",
    ]  # fmt: skip
    # Also where another step returned something else.
    doubled = compared(streamed("a", "b", "a", "b", looked=9), streamed("a", "b"))
    assert broken(STREAMS, doubled) == ["stream_repeated"]


def test_the_number_of_entries_may_be_unsteady() -> None:
    assert broken(STREAMS, compared(streamed(*"abc"), streamed(*"a"), streamed(*"ab"))) == []


def test_an_entry_that_is_lost_or_another_is_found() -> None:
    assert broken(STREAMS, compared(streamed("a"), streamed("a", "b"))) == ["stream_differs"]
    assert broken(STREAMS, compared(streamed("a", "x"), streamed("a", "b"))) == ["stream_differs"]
    assert broken(STREAMS, compared(streamed("a", "x", looked=9), streamed("a", "b"))) == []
