"""The end of a run beside those without a fault, and on what it depends."""

from __future__ import annotations

from typing import Any

import pytest

from aexp.crash.judge.alone import describe_unsteady, judge_alone
from aexp.crash.judge.evidence import Evidence
from aexp.crash.judge.fault_free import FaultFreeRuns, ReplayedRun, RunOutcome
from aexp.crash.judge.notes import describe_point
from aexp.crash.judge.verdicts import PROMISES
from tests.support.histories import broken, compared, history, stored, summaries

SAME_RESULT = next(promise for promise in PROMISES if promise.name == "same_result")


def priced(price: float, result: Any = None) -> Evidence:
    """One step asks for a price, and the result follows from it."""
    return history(("live_price", price), ("buy", None), result=result or f"bought at {price}")


def counting(total: int) -> Evidence:
    """The result is counted in memory, and the steps return the same in every run."""
    return history(("look", 1), ("look", 2), result=total)


def made(number: int) -> Evidence:
    """A step invents an id, which the result bears."""
    order = {"id": f"id-{number}", "paid": True}
    return history(("invent", order["id"]), result=order)


def test_a_result_that_no_step_explains_is_broken() -> None:
    assert broken(SAME_RESULT, compared(counting(1), counting(3))) == ["result_differs"]
    assert broken(SAME_RESULT, compared(counting(3), counting(3), counting(3))) == []


def test_a_result_that_a_step_explains_is_told_and_not_broken() -> None:
    beside = compared(priced(12.0), priced(10.0), priced(10.0))
    assert broken(SAME_RESULT, beside) == []
    (note,) = describe_point(beside)
    assert note.kind == "depends_on_step"
    assert "depends on step `live_price`" in note.summary


def test_an_id_that_a_step_makes_is_unsteady_and_left_out() -> None:
    runs = [made(1), made(2), made(3)]
    assert broken(SAME_RESULT, compared(made(4), *runs)) == []
    assert describe_point(compared(made(4), *runs)) == []
    unpaid = history(("invent", "id-4"), result={"id": "id-4", "paid": False})
    known = FaultFreeRuns(runs, [RunOutcome("SUCCESS", run.outcome) for run in runs])
    (note,) = describe_unsteady(known)
    assert "result['id']" in note.summary
    assert "{**result, 'id': None}" in note.summary
    # What is steady of it may follow from the id: it is told.
    assert broken(SAME_RESULT, compared(unpaid, *runs)) == []
    # Unless it is known to follow from something else.
    replayed = ReplayedRun(True, RunOutcome("SUCCESS", {"id": "id-1", "paid": False}), {})
    assert broken(SAME_RESULT, compared(unpaid, *runs, replayed=replayed)) == ["result_differs"]


def test_a_wholly_unsteady_result_is_not_judged() -> None:
    runs = [history(result=n) for n in range(3)]
    assert SAME_RESULT.check(compared(history(result=7), *runs)) is None
    known = FaultFreeRuns(runs, [RunOutcome("SUCCESS", run.outcome) for run in runs])
    (note,) = describe_unsteady(known)
    assert "comparable" in note.summary


def test_a_step_that_fails_the_second_time_is_no_excuse_for_an_error() -> None:
    good = history(("insert", None), result="done")
    bad = history(("insert", ValueError("duplicate key")), status="ERROR",
                  result="ValueError: duplicate key")  # fmt: skip
    assert broken(SAME_RESULT, compared(bad, good, good)) == ["ended_otherwise"]
    assert "duplicate key" in summaries(SAME_RESULT, compared(bad, good))[0]
    # Without a fault it fails now and then, too.
    assert broken(SAME_RESULT, compared(bad, good, bad)) == []


def test_a_body_that_calls_other_steps_is_one_cause_wherever_it_shows() -> None:
    def cause(error: str) -> str:
        found = compared(history(status="ERROR", result=error), history(result="done"))
        (anomaly,) = SAME_RESULT.check(found) or ()
        return anomaly.cause

    one = cause("DBOSUnexpectedStepError: step 2, function a was recorded when b was expected")
    other = cause("DBOSUnexpectedStepError: step 4, function c was recorded when a was expected")
    assert one == other != ""
    # What is said of any other error is its cause.
    assert cause("ValueError: duplicate key") == ""


# --- the runs without a fault by themselves


def alone(
    *runs: Evidence, replayed: ReplayedRun | None = None, expects_error: bool = False
) -> set[str]:
    known = FaultFreeRuns(runs, [RunOutcome(run.status, run.outcome) for run in runs], replayed)
    return {
        anomaly.kind
        for verdict in judge_alone(known, expects_error=expects_error)
        for anomaly in verdict.anomalies or ()
    }


def test_a_workflow_that_fails_when_it_is_left_alone_is_found() -> None:
    good = history(result="done")
    bad = history(status="ERROR", result="KeyError: 'A_KEY'")
    assert alone(good, good, good) == set()
    assert alone(bad, bad, bad) == {"baseline_error"}
    assert alone(bad, bad, bad, expects_error=True) == set()
    assert alone(good, bad, good) == {"baseline_error"}
    assert alone(history(status="PENDING"), expects_error=True) >= {"baseline_not_ended"}


@pytest.mark.parametrize(
    ("again", "kinds"),
    [
        (RunOutcome("SUCCESS", 3), set[str]()),
        (RunOutcome("SUCCESS", 0), {"replay_differs"}),
        (RunOutcome("ERROR", "DBOSUnexpectedStepError: …"), {"replay_differs"}),
    ],
)
def test_a_run_is_judged_against_its_own_replay(again: RunOutcome, kinds: set[str]) -> None:
    replayed = ReplayedRun(True, again, {})
    assert alone(counting(3), counting(3), replayed=replayed) == kinds


def test_a_replay_that_never_ends_is_found() -> None:
    replayed = ReplayedRun(False, RunOutcome("PENDING", None), {}, "its child ~-1 does not exist")
    assert alone(counting(3), replayed=replayed) == {"replay_differs"}
    known = FaultFreeRuns([counting(3)], [RunOutcome("SUCCESS", 3)], replayed)
    found = [verdict.anomalies or () for verdict in judge_alone(known, expects_error=False)]
    (anomaly,) = (anomaly for anomalies in found for anomaly in anomalies)
    assert anomaly.summary.endswith("does not come to its end: its child ~-1 does not exist")


def test_a_time_in_the_result_is_broken_only_where_the_body_makes_all_of_it() -> None:
    def stamped(at: int) -> Evidence:
        return history(("pay", 1), result={"at": at, "paid": True})

    later = ReplayedRun(True, RunOutcome("SUCCESS", {"at": 9, "paid": True}), {})
    assert alone(stamped(1), stamped(2), stamped(3), replayed=later) == set()
    clocks = [history(("pay", 1), result=at) for at in range(3)]
    later = ReplayedRun(True, RunOutcome("SUCCESS", 9), {})
    assert alone(*clocks, replayed=later) == {"replay_differs"}
    # A step has made it: the replay finds it again.
    same = ReplayedRun(True, RunOutcome("SUCCESS", 0), {})
    assert alone(*clocks, replayed=same) == set()


def test_a_value_of_another_hash_order_is_the_same() -> None:
    good = history(("look", {"a", "b"}), result={"a", "b"})
    assert (
        broken(SAME_RESULT, compared(history(("look", {"b", "a"}), result={"b", "a"}), good)) == []
    )
    assert stored({"a", "b"}).differences(stored({"b", "a"})) == frozenset()
