"""What depends on downtime, of histories that are written down by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from aexp.crash.judge.downtimes import Downtime, order_deadlines, tell_downtime
from aexp.crash.judge.endings import run_ends
from aexp.crash.judge.evidence import Deadline, Evidence, LifeRecord
from aexp.crash.judge.notes import describe_point
from aexp.crash.judge.verdicts import judge_experiment
from aexp.model.promise import Anomaly, Verdict
from tests.support.histories import ROOT, began, compared, ended, history, wrote

# A clock whose zero is that of the epoch: a kill at 10, and a deadline at 100.
DAY = Downtime(began_at=10.0, seconds=86_400.0)
APPROVAL = Deadline(ROOT, 3, "DBOS.recv", set_at=9.0, until=100.0)


def told(
    found: Evidence, *, downtime: Downtime = DAY, alike: bool = False
) -> tuple[list[str], list[str]]:
    """The promises that are broken, and the kinds of notes, of ``found`` beside a run that returns
    0; ``alike``: the same was found without a downtime, too.
    """
    comparison = compared(found, history(("count", 0), result=0))
    verdicts, notes = judge_experiment(comparison), describe_point(comparison)
    without: tuple[Sequence[Verdict], Sequence[Anomaly]] = (verdicts, notes) if alike else ((), ())
    verdicts_left, notes_left = tell_downtime(verdicts, notes, comparison, downtime, without)
    return (
        [verdict.name for verdict in verdicts_left if verdict.held is False],
        [note.kind for note in notes_left],
    )


def late(**given: Any) -> Evidence:
    """It returns 1, all steps having returned what they did without a fault."""
    return history(("count", 0), result=1, lives=2, deadlines=[APPROVAL], **given)


def test_another_result_depends_on_a_deadline_that_passed() -> None:
    assert told(late()) == ([], ["depends_on_downtime"])


@pytest.mark.parametrize(
    "deadline",
    [
        replace(APPROVAL, until=100_000.0),
        replace(APPROVAL, set_at=11.0),
        replace(APPROVAL, until=9.5),
    ],
    ids=["not yet", "set later", "over before"],
)
def test_a_deadline_that_did_not_pass_meanwhile_is_no_reason(deadline: Deadline) -> None:
    found = replace(late(), deadlines=[deadline])
    assert told(found) == (["same_result"], [])


def test_what_is_broken_without_a_downtime_stays_so() -> None:
    assert told(late(), alike=True) == (["same_result"], [])


def test_a_step_that_returned_something_else_is_a_reason() -> None:
    found = history(("count", 1), result=1, lives=2)
    assert told(found) == ([], ["depends_on_downtime"])
    assert told(found, alike=True) == ([], ["depends_on_step"])


def test_a_run_that_does_not_end_is_broken_whatever_has_passed() -> None:
    lives = [LifeRecord(10, -9, killed=True), LifeRecord(11, None, killed=False)]
    broken, _ = told(replace(late(), status="PENDING", lives=lives))
    assert "run_ends" in broken


def test_a_replay_that_diverges_is_broken_whatever_has_passed() -> None:
    error = "DBOSUnexpectedStepError: step 3 was recorded as another one"
    broken, notes = told(replace(late(), status="ERROR", outcome=error))
    assert (broken, notes) == (["same_result"], [])


def test_an_error_of_its_own_depends_on_the_deadline() -> None:
    found = replace(late(), status="ERROR", outcome="TimeoutError: nobody answered")
    assert told(found) == ([], ["depends_on_downtime"])


def test_each_deadline_is_tried_around_its_time() -> None:
    writes = [wrote("begin", life=0, at=8.0, workflow=ROOT), wrote("end", life=0, at=30.0)]
    deadlines = [
        Deadline(ROOT, None, "timeout", set_at=7.5, until=108.0),
        Deadline(ROOT, None, "delay", set_at=7.5, until=9.0),
        Deadline(ROOT, None, "delay", set_at=7.5, until=7.9),
        Deadline("another", None, "timeout", set_at=7.5, until=108.0),
    ]
    run = history(writes=writes, deadlines=deadlines)
    points = order_deadlines(["begin#1"], run)
    assert [point.down_s for point in points] == [90.0, 100.1, 1.1]
    assert {point.faults[0].write for point in points} == {"begin#1"}
    assert order_deadlines(["end#1"], run) == []


def test_a_step_that_still_runs_at_the_deadline_is_named() -> None:
    lives = [LifeRecord(10, -9, killed=True), LifeRecord(11, None, killed=False)]
    records = [
        began(1, at=1.0, name="killed"),
        began(1, life=1, at=3.0, name="done"),
        ended(1, life=1, at=4.0),
        began(2, life=1, at=5.0, name="fetch"),
    ]
    found = history(status="PENDING", records=records, lives=2)
    (anomaly,) = run_ends(compared(replace(found, lives=lives), history()))
    assert anomaly.summary == (
        "the run did not end within its deadline: step `fetch` of `sell` had not returned"
    )
    calm = replace(found, records=[], lives=lives)
    (anomaly,) = run_ends(compared(calm, history()))
    assert anomaly.summary == "the run did not end within its deadline"
