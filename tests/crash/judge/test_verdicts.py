"""Known-bad histories, each of which a verdict must reject, and the good one that all let pass."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aexp.audit import Report
from aexp.crash.experiment.laboratory import Experiment, void_reason
from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.evidence import (
    Checkpoint,
    Evidence,
    Landed,
    LifeRecord,
    Outage,
    Seen,
    StepRecord,
    Stranded,
    WorkflowRecord,
)
from aexp.crash.judge.explanations import find_causes
from aexp.crash.judge.fault_free import FaultFreeRuns, RunOutcome
from aexp.crash.judge.points import Fault, Side, parse_point
from aexp.crash.judge.verdicts import judge_experiment
from aexp.crash.proxy.writes import Write
from aexp.model.promise import Anomaly, Verdict
from aexp.model.run import Run
from tests.support.histories import began

ROOT, CHILD = "crash", "crash-1"
RUN = Run(ROOT, "sell", "sell", {}, {}, f"run-{ROOT}")

GOOD = Evidence(
    status="SUCCESS",
    outcome=[1, 2],
    lives=[LifeRecord(10, -9, killed=True), LifeRecord(11, 0, killed=False)],
    workflows=[
        WorkflowRecord(ROOT, "sell", "SUCCESS"),
        WorkflowRecord(CHILD, "pay", "SUCCESS", parent_id=ROOT),
    ],
    steps=[StepRecord(ROOT, 1, "reserve"), StepRecord(ROOT, 2, "ship"),
           StepRecord(ROOT, 3, "pay", child_id=CHILD)],
    checkpoints=[Checkpoint(ROOT, 1, 0, at=1.0), Checkpoint(ROOT, 2, 1, at=4.0)],
    records=[
        began(1, name="reserve", at=0.5), began(2, name="ship", at=1.5),
        began(2, name="ship", life=1, at=3.0),
    ],
)  # fmt: skip


def ended(run: Evidence) -> RunOutcome:
    return RunOutcome(run.status, run.outcome)


def compared(found: Evidence, *baseline: Evidence, **given: Any) -> BaselineComparison:
    runs = baseline or (GOOD,)
    return BaselineComparison(
        FaultFreeRuns(runs, [ended(run) for run in runs]), found, ended(found), **given
    )


def broken(found: Evidence, **given: Any) -> set[str]:
    return {v.name for v in judge_experiment(compared(found, **given)) if v.held is False}


def test_a_run_that_was_killed_and_came_to_the_same_end_is_sound() -> None:
    verdicts = judge_experiment(compared(GOOD))
    not_judged = {
        "stranded_told", "survived", "old_owner", "same_events", "same_streams", "same_rows",
        "effects_once", "steps_once", "requests_once", "same_way", "messages_once",
    }  # fmt: skip
    assert {v.name for v in verdicts if v.held is not True} == not_judged
    assert not broken(GOOD)


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
STOPPED = Outage(
    at=2.0, ended=NOON, began=NOON + timedelta(hours=1), standing=frozenset({(ROOT, 1)})
)
OUTLIVED = replace(GOOD, outages=[STOPPED])


def test_a_run_whose_server_was_stopped_and_kept_everything_is_sound() -> None:
    verdicts = {v.name: v.held for v in judge_experiment(compared(OUTLIVED))}
    assert verdicts["survived"] is True
    assert not broken(OUTLIVED)


BAD: dict[str, tuple[Callable[[Evidence], Evidence], str]] = {
    "a worker failed on its own": (
        lambda good: replace(good, lives=[good.lives[0], LifeRecord(11, 1, killed=False)]),
        "run_ends",
    ),
    "the server has lost a checkpoint": (
        lambda good: replace(good, outages=[replace(STOPPED, standing=frozenset())]),
        "survived",
    ),
    "the deadline passed": (
        lambda good: replace(good, lives=[good.lives[0], LifeRecord(11, None, killed=False)]),
        "run_ends",
    ),
    "the root never began": (lambda good: replace(good, status="NOT STARTED"), "same_result"),
    "it ended in error": (lambda good: replace(good, status="ERROR"), "same_result"),
    "another result": (lambda good: replace(good, outcome=[1, 3]), "same_result"),
    "a child is left": (
        lambda good: replace(
            good, workflows=[good.workflows[0], replace(good.workflows[1], status="PENDING")]
        ),
        "none_left",
    ),
    "a child is dead-lettered": (
        lambda good: replace(
            good,
            workflows=[
                good.workflows[0],
                replace(good.workflows[1], status="MAX_RECOVERY_ATTEMPTS_EXCEEDED"),
            ],
        ),
        "none_left",
    ),
    "a child is missing": (
        lambda good: replace(good, workflows=good.workflows[:1]),
        "children_once",
    ),
    "a child is there twice": (
        lambda good: replace(
            good,
            workflows=[
                *good.workflows,
                WorkflowRecord("b3f2", "pay", "SUCCESS", parent_id=ROOT),
            ],
        ),
        "children_once",
    ),
    "a step has started it twice by a client": (
        lambda good: replace(
            good,
            workflows=[*good.workflows, WorkflowRecord("b3f2", "mail", "SUCCESS")],
        ),
        "children_once",
    ),
    "a checkpoint is gone": (
        lambda good: replace(good, steps=[*good.steps[:1], *good.steps[2:]]),
        "checkpoints_kept",
    ),
    "recorded by two processes": (
        lambda good: replace(
            good, checkpoints=[*good.checkpoints, Checkpoint(ROOT, 1, 1, at=3.5)]
        ),
        "checkpoints_kept",
    ),
    "a body after its checkpoint": (
        lambda good: replace(
            good, records=[*good.records, began(1, name="reserve", life=1, at=2.5)]
        ),
        "never_again",
    ),
    "the scenario's own promise": (
        lambda good: replace(good, verdicts=[Verdict("once", "once", [Anomaly("twice")])]),
        "once",
    ),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_a_known_bad_history_is_rejected(bad: str) -> None:
    spoil, promise = BAD[bad]
    assert promise in broken(spoil(GOOD))


def test_a_broken_promise_shows_the_rows() -> None:
    spoil, _ = BAD["a body after its checkpoint"]
    (verdict,) = (v for v in judge_experiment(compared(spoil(GOOD))) if v.held is False)
    (anomaly,) = verdict.anomalies or ()
    assert anomaly.rows == [
        {
            "workflow_id": ROOT, "step_id": 1, "name": "reserve", "process": 2,
            "checkpoint_of_process": 1, "later_s": 1.5,
        }
    ]  # fmt: skip


def test_a_write_that_a_living_process_repeats_is_no_second_record() -> None:
    repeated = [*GOOD.checkpoints, Checkpoint(ROOT, 1, 0, at=1.2)]
    assert not broken(replace(GOOD, checkpoints=repeated))


def test_a_transaction_in_doubt_may_begin_again_in_its_own_process_only() -> None:
    rows = [{"workflow_id": ROOT, "step_id": 1, "pid": 10}]
    found = replace(GOOD, verdicts=[Verdict("checkpointed_once", "", [Anomaly("again", rows)])])
    assert "checkpointed_once" in broken(found)
    assert "checkpointed_once" in broken(found, doubted=frozenset({(ROOT, 1, 11)}))
    assert not broken(found, doubted=frozenset({(ROOT, 1, 10)}))


def test_what_a_wrong_process_leaves_must_be_told_with_its_cause() -> None:
    def left(causes: dict[str, list[str]]) -> Evidence:
        wrong = LifeRecord(12, -9, killed=False, stranded=Stranded("other-version", causes))
        return replace(GOOD, lives=[GOOD.lives[0], wrong, GOOD.lives[1]])

    assert not broken(left({"other-version": [ROOT]}))
    assert broken(left({"unknown": [ROOT]})) == {"stranded_told"}
    assert broken(left({})) == {"stranded_told"}


def test_ticks_of_another_time_are_no_other_workflows() -> None:
    def at(tick: str) -> Evidence:
        return replace(
            GOOD, workflows=[*GOOD.workflows, WorkflowRecord(f"sched-beat-{tick}", "b", "SUCCESS")]
        )

    def judged(found: Evidence) -> set[str]:
        beside = compared(found, at("2026-03-01T12:00:00+00:00"))
        return {verdict.name for verdict in judge_experiment(beside) if verdict.held is False}

    assert judged(at("2026-03-01T12:00:05+00:00")) == set()
    assert judged(at("now")) == {"children_once"}


PENDING = WorkflowRecord(
    ROOT, "sell", "PENDING", executor_id="local", application_version="v1", instance="Shop/main"
)


@pytest.mark.parametrize(
    ("row", "log", "cause"),
    [
        (replace(PENDING, application_version="v2"), "", "other-version"),
        (replace(PENDING, executor_id="elsewhere"), "", "other-executor"),
        (PENDING, "configured class instance 'Shop/main' is not registered", "no-instance"),
        (PENDING, "configured class instance 'Shop/other' is not registered", "unknown"),
        (replace(PENDING, instance=None), "", "unknown"),
    ],
)
def test_the_cause_of_what_lies_there_is_found(row: WorkflowRecord, log: str, cause: str) -> None:
    ended = replace(row, workflow_id=CHILD, status="SUCCESS")
    causes = find_causes([row, ended], executor_id="local", version="v1", log=log)
    assert causes == {cause: [ROOT]}


def test_without_bodies_nothing_is_known_of_what_ran_again() -> None:
    verdicts = {v.name: v.held for v in judge_experiment(compared(replace(GOOD, records=[])))}
    assert verdicts["never_again"] is None


# --- whether a fault landed

NAME = "insert dbos.operation_outputs"
WRITE = Write(
    name=NAME, key=f"{NAME} [~:1]", ordinal=1, workflow_id=ROOT, step_id=1, bookkeeping=False
)  # fmt: skip


def experiment(
    side: Side,
    *,
    code: int | None,
    durable: bool,
    stood: bool | None,
    outage: Outage | None = None,
) -> Experiment:
    fault = Fault(side, WRITE.point)
    return Experiment(
        faults=[fault],
        landed=[Landed(fault, WRITE, 0, 1.0, code, outage)],
        stood=[stood],
        evidence=replace(GOOD, writes=[Seen(WRITE, 0, 1.0)] if durable else []),
        seconds=1.0,
        connections=1,
        report=Report(RUN, GOOD.status, GOOD.outcome, [], GOOD.verdicts, {}, elapsed_s=1.0),
    )


def stopped(side: Side, *, durable: bool, stood: bool, outage: Outage = STOPPED) -> Experiment:
    return experiment(side, code=None, durable=durable, stood=stood, outage=outage)


def test_a_fault_that_landed_is_not_void() -> None:
    killed = -signal.SIGKILL
    # The process lives on, and tries again.
    written_later = replace(
        stopped(Side.POSTGRES_BEFORE, durable=False, stood=False),
        evidence=replace(GOOD, writes=[Seen(WRITE, 0, 1.5)]),
    )
    for sound in (
        experiment(Side.BEFORE, code=killed, durable=False, stood=False),
        experiment(Side.AFTER, code=killed, durable=True, stood=True),
        experiment(Side.AFTER, code=killed, durable=True, stood=None),
        experiment(Side.LOST_ACK, code=None, durable=True, stood=True),
        stopped(Side.POSTGRES_BEFORE, durable=False, stood=False),
        stopped(Side.POSTGRES_AFTER, durable=True, stood=True),
        # It is for a promise to say so.
        stopped(Side.POSTGRES_AFTER, durable=True, stood=False),
        written_later,
        experiment(Side.ZOMBIE_BEFORE, code=None, durable=True, stood=None),
    ):
        assert void_reason(sound) is None


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (experiment(Side.BEFORE, code=0, durable=False, stood=False), "was not killed"),
        (experiment(Side.AFTER, code=-signal.SIGTERM, durable=True, stood=True), "was not killed"),
        (experiment(Side.BEFORE, code=-9, durable=True, stood=True), "became durable"),
        (experiment(Side.BEFORE, code=-9, durable=False, stood=True), "stands in the database"),
        (experiment(Side.AFTER, code=-9, durable=False, stood=False), "did not become durable"),
        (experiment(Side.AFTER, code=-9, durable=True, stood=False), "does not stand"),
        (replace(experiment(Side.AFTER, code=-9, durable=True, stood=True), landed=[]), "reached"),
        (stopped(Side.POSTGRES_AFTER, durable=True, stood=True,
                 outage=replace(STOPPED, began=NOON)), "was not stopped"),
        (stopped(Side.POSTGRES_BEFORE, durable=True, stood=True), "became durable"),
        (stopped(Side.POSTGRES_BEFORE, durable=False, stood=True), "stands in the database"),
        (replace(experiment(Side.ZOMBIE_AFTER, code=None, durable=True, stood=None), landed=[]),
         "reached"),
    ],
)  # fmt: skip
def test_a_fault_that_did_not_land_as_it_should_is_void(found: Experiment, reason: str) -> None:
    assert reason in (void_reason(found) or "")


def test_of_two_faults_both_must_land() -> None:
    one = experiment(Side.AFTER, code=-9, durable=True, stood=True)
    second = parse_point("before:insert t#1").faults
    assert void_reason(replace(one, faults=[*one.faults, *second])) == "insert t#1 was not reached"
