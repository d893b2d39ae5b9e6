"""Every promise holds on a clean history and is broken, with its rows, by a planted violation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from aexp.audit.history import History
from aexp.audit.verdicts import PROMISES as WORKFLOW_PROMISES
from aexp.model.promise import Anomaly, Promise, judge
from aexp.scenarios.resume.promises import PROMISES as RESUME_PROMISES
from aexp.scenarios.resume.promises import PublicationEvidence, account
from tests.support.violations import Violation, anomalies_of

ENDED_WELL = History(
    root_status="SUCCESS",
    error=None,
    workflows={"SUCCESS": 21},
    steps=23,
    steps_ran=True,
    unfinished=(),
    repeated=(),
)

ALL_PUBLISHED = PublicationEvidence(
    delivery="exactly-once",
    asked=20,
    rows=20,
    once=20,
    more_than_once=0,
    never=0,
    reported_failed=0,
    bodies=23,
    chunks=20,
    most_bodies=2,
    counters={
        "workflow1": {"local": 10, "global": 10, "durable": 10, "without_refill": 3},
        "workflow2": {"local": 10, "global": 10, "durable": 10, "without_refill": 4},
    },
)


PENDING_ROW = {"workflow_id": "r.2.0", "status": "PENDING", "recovery_attempts": 1}
REPEATED_ROW = {"workflow_id": "r.2.7", "step": "publish", "pid": 41}

BROKEN_WORKFLOWS = [
    Violation(
        "ends",
        replace(ENDED_WELL, root_status="ERROR", error="ValueError: no such channel"),
        "the workflow ended in error: ValueError: no such channel",
        [],
    ),
    *(
        Violation(
            "ends",
            replace(ENDED_WELL, root_status=status),
            f"the workflow has not ended: its status is {status}",
            [],
        )
        for status in ("PENDING", "NOT STARTED")
    ),
    Violation(
        "ends",
        replace(ENDED_WELL, root_status="CANCELLED"),
        "the workflow was cancelled",
        [],
    ),
    Violation(
        "ends",
        replace(ENDED_WELL, root_status="CANCELLED", timeout_s=0.5),
        "the workflow was cancelled by its timeout of 0.5 s",
        [],
    ),
    Violation(
        "ends",
        replace(ENDED_WELL, root_status="MAX_RECOVERY_ATTEMPTS_EXCEEDED"),
        "the workflow was given up: DBOS had recovered it too often",
        [],
    ),
    Violation(
        "nothing_left",
        replace(
            ENDED_WELL,
            workflows={"SUCCESS": 18, "PENDING": 1, "ENQUEUED": 2},
            unfinished=[PENDING_ROW],
        ),
        "workflows without an end: 2 ENQUEUED, 1 PENDING",
        [PENDING_ROW],
    ),
    Violation(
        "nothing_left",
        replace(ENDED_WELL, workflows={"SUCCESS": 20, "MAX_RECOVERY_ATTEMPTS_EXCEEDED": 1}),
        "workflows without an end: 1 MAX_RECOVERY_ATTEMPTS_EXCEEDED",
        [],
    ),
    Violation(
        "checkpointed_once",
        replace(ENDED_WELL, repeated=[REPEATED_ROW]),
        "step bodies began although their checkpoint was durable",
        [REPEATED_ROW],
    ),
]

TWICE_ROW = {"position": 4, "times": 2, "pids": [41, 42]}
ALTERED_ROW = {"position": 5, "channel": "workflow2", "body": "{}", "pid": 41}
STRAY_ROW = {"position": 20, "channel": "workflow1", "pid": 41}
COUNTER_BEHIND = {"local": 3, "global": 10, "durable": 10, "without_refill": 3}

BROKEN_RUNS = [
    Violation(
        "nothing_lost",
        replace(ALL_PUBLISHED, once=18, never=2, lost=[7, 11]),
        "2 of 20 messages were never published and not reported as failed",
        [{"position": 7}, {"position": 11}],
    ),
    Violation(
        "nothing_lost",
        replace(ALL_PUBLISHED, once=17, never=3, reported_failed=2, lost=[11]),
        "1 of 20 messages were never published and not reported as failed",
        [{"position": 11}],
    ),
    Violation(
        "nothing_lost",
        replace(ALL_PUBLISHED, delivery="at-least-once", once=19, never=1, lost=[7]),
        "1 of 20 messages were never published and not reported as failed",
        [{"position": 7}],
    ),
    *(
        Violation(
            "no_duplicates",
            replace(
                ALL_PUBLISHED,
                delivery=delivery,
                rows=21,
                once=19,
                more_than_once=1,
                duplicates=[TWICE_ROW],
            ),
            f"1 messages were published more than once, which {delivery} does not allow",
            [TWICE_ROW],
        )
        for delivery in ("exactly-once", "idempotent")
    ),
    Violation(
        "unaltered",
        replace(ALL_PUBLISHED, altered=[ALTERED_ROW]),
        "messages differ from what was asked for",
        [ALTERED_ROW],
    ),
    Violation(
        "unaltered",
        replace(ALL_PUBLISHED, altered=[ALTERED_ROW], rows=21, strays=[STRAY_ROW]),
        "messages differ from what was asked for",
        [ALTERED_ROW],
        more=[("rows that were never asked for", [STRAY_ROW])],
    ),
    Violation(
        "counters_found_again",
        replace(
            ALL_PUBLISHED,
            delivery="at-least-once",
            rows=21,
            once=19,
            more_than_once=1,
            duplicates=[TWICE_ROW],
            counters={"workflow1": {**COUNTER_BEHIND, "local": 8, "global": 8}},
        ),
        "counters in memory differ from the durable count",
        [{"channel": "workflow1", **COUNTER_BEHIND, "local": 8, "global": 8}],
    ),
    *(
        Violation(
            "counters_found_again",
            replace(
                ALL_PUBLISHED,
                counters={**(ALL_PUBLISHED.counters or {}), "workflow2": wrong},
            ),
            "counters in memory differ from the durable count",
            [{"channel": "workflow2", **wrong}],
        )
        for wrong in (
            COUNTER_BEHIND,
            {**COUNTER_BEHIND, "local": 10, "global": 3},
            {**COUNTER_BEHIND, "local": 11, "global": 11},
        )
    ),
]

VIOLATIONS = [
    *((WORKFLOW_PROMISES, violation) for violation in BROKEN_WORKFLOWS),
    *((RESUME_PROMISES, violation) for violation in BROKEN_RUNS),
]


@pytest.mark.parametrize(
    ("promises", "violation"),
    VIOLATIONS,
    ids=lambda value: value.promise if isinstance(value, Violation) else "",
)
def test_a_violation_breaks_its_promise_alone_and_shows_its_rows(
    promises: Sequence[Promise[Any]], violation: Violation
) -> None:
    assert anomalies_of(promises, violation.evidence) == {violation.promise: violation.named}


@pytest.mark.parametrize(
    ("promises", "violations"),
    [(WORKFLOW_PROMISES, BROKEN_WORKFLOWS), (RESUME_PROMISES, BROKEN_RUNS)],
    ids=["workflow", "resume"],
)
def test_no_promise_is_without_a_violation(
    promises: Sequence[Promise[Any]], violations: Sequence[Violation]
) -> None:
    names = [promise.name for promise in promises]

    assert len(set(names)) == len(names)
    assert set(names) == {violation.promise for violation in violations}


CLEAN: dict[str, tuple[Sequence[Promise[Any]], Any]] = {
    "ended well": (WORKFLOW_PROMISES, ENDED_WELL),
    "a child in error is its parent's affair": (
        WORKFLOW_PROMISES,
        replace(ENDED_WELL, workflows={"SUCCESS": 20, "ERROR": 1}),
    ),
    "a child was cancelled, which somebody or its timeout has asked for": (
        WORKFLOW_PROMISES,
        replace(ENDED_WELL, workflows={"SUCCESS": 20, "CANCELLED": 1}),
    ),
    "all published once": (RESUME_PROMISES, ALL_PUBLISHED),
    "idempotent": (RESUME_PROMISES, replace(ALL_PUBLISHED, delivery="idempotent")),
    "at-least-once may double": (
        RESUME_PROMISES,
        replace(
            ALL_PUBLISHED,
            delivery="at-least-once",
            rows=24,
            once=17,
            more_than_once=3,
            duplicates=[TWICE_ROW],
        ),
    ),
    "what is reported as failed is not lost": (
        RESUME_PROMISES,
        replace(ALL_PUBLISHED, rows=15, once=15, never=5, reported_failed=5),
    ),
    "everything failed and was reported": (
        RESUME_PROMISES,
        replace(ALL_PUBLISHED, rows=0, once=0, never=20, reported_failed=20, counters={}),
    ),
    "no process ended in order": (RESUME_PROMISES, replace(ALL_PUBLISHED, counters=None)),
    "a double that its process never heard of": (
        RESUME_PROMISES,
        replace(
            ALL_PUBLISHED,
            delivery="at-least-once",
            rows=21,
            once=19,
            more_than_once=1,
            duplicates=[TWICE_ROW],
            counters={"workflow1": {**COUNTER_BEHIND, "local": 9, "global": 9}},
        ),
    ),
    "a process refilled nothing": (
        RESUME_PROMISES,
        replace(
            ALL_PUBLISHED,
            counters={"workflow1": {**COUNTER_BEHIND, "local": 10, "without_refill": 0}},
        ),
    ),
}


@pytest.mark.parametrize("history", CLEAN)
def test_every_promise_holds_on_a_clean_history(history: str) -> None:
    promises, evidence = CLEAN[history]

    assert anomalies_of(promises, evidence) == {}


def test_several_violations_are_all_named() -> None:
    worst = replace(
        ALL_PUBLISHED,
        rows=20,
        once=17,
        more_than_once=1,
        never=2,
        lost=[7, 11],
        duplicates=[TWICE_ROW],
        strays=[STRAY_ROW],
        counters={"workflow1": COUNTER_BEHIND},
    )

    assert list(anomalies_of(RESUME_PROMISES, worst)) == [
        promise.name for promise in RESUME_PROMISES
    ]


def test_a_verdict_for_each_promise_in_order_whatever_the_others_say() -> None:
    promises: list[Promise[int]] = [
        Promise("positive", "it is above 0", lambda n: [] if n > 0 else [Anomaly(f"it is {n}")]),
        Promise("even", "it is even", lambda n: [Anomaly("it is odd", [{"n": n}])] * (n % 2)),
        Promise("small", "it is below 9", lambda n: () if n < 9 else [Anomaly("too big")]),
    ]

    verdicts = judge(promises, -3)

    assert [(verdict.name, verdict.held) for verdict in verdicts] == [
        ("positive", False),
        ("even", False),
        ("small", True),
    ]
    assert verdicts[0].statement == "it is above 0"
    assert verdicts[1].anomalies == [Anomaly("it is odd", [{"n": -3}])]
    assert judge(promises, -3) == verdicts, "the same evidence gives the same anomalies"
    assert judge([], -3) == []


@pytest.mark.parametrize(
    ("evidence", "name"),
    [(ENDED_WELL, "steps"), (ALL_PUBLISHED, "never"), (Anomaly("it is odd"), "summary")],
)
def test_evidence_and_anomalies_do_not_change(evidence: Any, name: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(evidence, name, 0)


def test_the_account_tells_the_figures_as_json() -> None:
    summary = account(replace(ALL_PUBLISHED, once=15, never=5, reported_failed=4, lost=[7]))

    assert (
        json.loads(json.dumps(summary))
        == summary
        == {
            "messages": {
                "asked": 20,
                "once": 15,
                "more_than_once": 0,
                "never": 5,
                "reported_failed": 4,
            },
            "step_attempts": {"bodies": 23, "chunks": 20, "most_for_a_chunk": 2},
            "counters": ALL_PUBLISHED.counters,
        }
    )


def test_the_account_explains_what_is_allowed_and_what_was_not_checked() -> None:
    doubled = replace(ALL_PUBLISHED, delivery="at-least-once", once=17, more_than_once=3)
    unread = replace(ALL_PUBLISHED, unchecked="bodies were not compared: cannot read in.jsonl")

    assert account(doubled)["note"] == "3 duplicates, which at-least-once allows"
    assert "note" not in account(replace(doubled, delivery="idempotent"))
    assert account(unread)["unchecked"] == "bodies were not compared: cannot read in.jsonl"
    assert "unchecked" not in account(ALL_PUBLISHED)
    assert account(replace(ALL_PUBLISHED, counters=None))["counters"] == {}


def test_counters_that_nobody_told_are_not_judged() -> None:
    verdicts = {
        verdict.name: verdict
        for verdict in judge(RESUME_PROMISES, replace(ALL_PUBLISHED, counters=None))
    }
    assert verdicts["counters_found_again"].held is None
    assert verdicts["nothing_lost"].held is True


@pytest.mark.parametrize(
    ("promises", "evidence", "unjudged"),
    [
        (WORKFLOW_PROMISES, replace(ENDED_WELL, steps_ran=False), {"checkpointed_once"}),
        (WORKFLOW_PROMISES, replace(ENDED_WELL, workflows={}), {"nothing_left"}),
        (RESUME_PROMISES, replace(ALL_PUBLISHED, unchecked="the file has gone"), {"unaltered"}),
        (
            RESUME_PROMISES,
            replace(ALL_PUBLISHED, rows=0, once=0, never=20, reported_failed=20),
            {"unaltered", "no_duplicates"},
        ),
    ],
)
def test_what_there_is_no_evidence_for_is_not_judged(
    promises: Sequence[Promise[Any]], evidence: Any, unjudged: set[str]
) -> None:
    verdicts = judge(promises, evidence)
    assert {verdict.name for verdict in verdicts if verdict.held is None} == unjudged
