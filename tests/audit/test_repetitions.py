"""A step that runs again is told; only one whose checkpoint was certainly durable is broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from aexp.audit.history import History
from aexp.audit.repetitions import (
    RecordedBody,
    StepRepetition,
    began_again,
    repeated_steps,
)
from aexp.audit.verdicts import judge_history

# Ran in process 1, and was durable before process 2 began.
FIRST = RecordedBody(
    process_no=1,
    pid=41,
    workflow_id="r",
    step_id=3,
    name="charge",
    attempt=1,
    transactional=False,
    began_ms=1_000.4,
    arguments="('A17')",
    site="flows.py:9",
)
AGAIN = replace(FIRST, process_no=2, pid=42, began_ms=2_000.9)


def both(**changes: Any) -> list[RecordedBody]:
    """The two bodies, with what is known of both of them."""
    return [replace(FIRST, **changes), replace(AGAIN, **changes)]


@pytest.mark.parametrize(
    ("bodies", "since"),
    [
        (both(completed_ms=1_200), "1970-01-01T00:00:01.200+00:00"),
        (both(completed_ms=1_999), "1970-01-01T00:00:01.999+00:00"),
        # The checkpoint that stands there now is of the second body: the first one was lost.
        (
            [
                replace(FIRST, recorded_ms=1_300.0, completed_ms=2_100),
                replace(AGAIN, recorded_ms=2_200.0, completed_ms=2_100),
            ],
            "1970-01-01T00:00:01.300+00:00",
        ),
        # Nothing stands there at all.
        ([replace(FIRST, recorded_ms=1_300.0), AGAIN], "1970-01-01T00:00:01.300+00:00"),
        # It was retried before it was durable.
        (
            [
                FIRST,
                replace(FIRST, attempt=2, began_ms=1_100.0, recorded_ms=1_300.0),
                AGAIN,
            ],
            "1970-01-01T00:00:01.300+00:00",
        ),
    ],
)
def test_a_body_that_begins_after_its_checkpoint_was_durable_is_found(
    bodies: Sequence[RecordedBody], since: str
) -> None:
    (row,) = began_again(bodies)

    assert row == {
        "workflow_id": "r",
        "step": "charge",
        "step_id": 3,
        "pid": 42,
        "began_at": "1970-01-01T00:00:02.000+00:00",
        "durable_since": since,
        "arguments": "('A17')",
        "site": "flows.py:9",
    }


RIGHT = {
    "killed between the body and its checkpoint": both(completed_ms=2_100),
    "killed twice": [*both(completed_ms=3_100), replace(AGAIN, process_no=3, began_ms=3_000.0)],
    "nothing is known of a checkpoint": both(),
    "retried in one call after an error": [
        replace(FIRST, completed_ms=1_600),
        replace(FIRST, attempt=2, began_ms=1_500.0, recorded_ms=1_700.0, completed_ms=1_600),
    ],
    "an attempt of a call that another process has overtaken": [
        FIRST,
        replace(AGAIN, recorded_ms=2_200.0),
        replace(FIRST, attempt=2, began_ms=2_500.0),
    ],
    "in the same millisecond as the checkpoint": both(completed_ms=2_000),
    "a fork's own body beside the checkpoint that it began with": [
        replace(AGAIN, completed_ms=1_200)
    ],
    "a fork does again what its origin did": [
        replace(FIRST, recorded_ms=1_300.0),
        replace(AGAIN, workflow_id="fork"),
    ],
    "another step of the workflow": [
        replace(FIRST, recorded_ms=1_300.0),
        replace(AGAIN, step_id=4),
    ],
    "made to run once more after its end": [
        replace(FIRST, recorded_ms=1_300.0, completed_ms=2_100),
        replace(AGAIN, recorded_ms=2_200.0, completed_ms=2_100, era=1),
    ],
}  # fmt: skip


@pytest.mark.parametrize("history", RIGHT)
def test_what_is_right_is_not_found(history: str) -> None:
    assert began_again(RIGHT[history]) == []


def test_steps_that_ran_more_than_once_are_told_by_name() -> None:
    bodies = [
        *both(),
        replace(AGAIN, process_no=3, began_ms=3_000.0),
        *(replace(body, step_id=4, transactional=True) for body in both()),
        *(replace(body, step_id=5, name="mail", transactional=True) for body in both()),
        replace(FIRST, step_id=6, name="flaky"),
        replace(FIRST, step_id=6, name="flaky", attempt=2),
        replace(FIRST, workflow_id="other"),
        # Recovered in the process that had it already.
        *(replace(body, step_id=7, name="wait", process_no=1) for body in both()),
    ]

    assert repeated_steps(bodies) == {
        "charge": StepRepetition(2, most_bodies=3, most_processes=3, transactional=False),
        "mail": StepRepetition(1, most_bodies=2, most_processes=2, transactional=True),
        "wait": StepRepetition(1, most_bodies=2, most_processes=1, transactional=False),
    }


def history(**changes: Any) -> History:
    return History(
        "SUCCESS", None, workflows={"SUCCESS": 1}, steps=3, **{"steps_ran": True, **changes}
    )


@pytest.mark.parametrize(
    ("found", "held", "reason"),
    [
        (history(), True, None),
        (history(ran_again=both(completed_ms=2_100)), True, None),
        (history(ran_again=both(completed_ms=1_200)), False, None),
        # What is found in the other processes is broken all the same.
        (history(ran_again=both(completed_ms=1_200), unrecorded=[43]), False, None),
        (history(unrecorded=[43]), None, "no recording of process 43 was read"),
        (
            history(unrecorded=range(1, 9)),
            None,
            "no recording of process 1, 2, 3, 4, 5, … was read",
        ),
        (history(steps_ran=False), None, "no step ran"),
    ],
)
def test_a_run_of_which_a_process_was_not_recorded_is_never_held(
    found: History, held: bool | None, reason: str | None
) -> None:
    (verdict,) = (each for each in judge_history(found) if each.name == "checkpointed_once")

    assert (verdict.held, verdict.reason) == (held, reason)
