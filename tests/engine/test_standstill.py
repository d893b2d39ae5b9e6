"""A run stands still when none of its workflows can move, and as long as one may it does not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from aexp.engine.departures import Departure
from aexp.engine.standstill import (
    RegisteredQueue,
    RunLook,
    UnfinishedWorkflow,
    Wait,
    find_standstill,
    name_blockage,
)

NOW = 1_000_000.0
SERVED = {"q": RegisteredQueue(served=True)}


def row(workflow_id: str, status: str = "PENDING", **fields: Any) -> UnfinishedWorkflow:
    """A workflow of this run, claimed by this process unless told otherwise."""
    known: dict[str, Any] = {"executor_id": "local", "version": "run-r", "name": "flow"}
    return UnfinishedWorkflow(workflow_id=workflow_id, status=status, **{**known, **fields})


def look(workflows: Sequence[UnfinishedWorkflow], *waits: Wait, **fields: Any) -> RunLook:
    """What is seen of run ``r``; who waits is active."""
    known: dict[str, Any] = {"active": frozenset(wait.workflow_id for wait in waits)}
    return RunLook(
        root_id="r",
        executor_id="local",
        version="run-r",
        no_topic="none",
        workflows=workflows,
        waits=waits,
        **{**known, **fields},
    )


def child(*targets: str, of: str = "r") -> Wait:
    """``of`` waits for the ends of its children."""
    return Wait(of, "result", targets or ("r-1",))


def enqueued(**fields: Any) -> UnfinishedWorkflow:
    """A child in queue ``q``."""
    return row("r-1", "ENQUEUED", **{"queue": "q", "executor_id": None, **fields})


FULL = RegisteredQueue(served=True, full=1)

ADVICE = (
    "call DBOS.register_queue('q') at module level, not below `if __name__ == \"__main__\":`, or"
    " give a Scenario queues=… Queue('q', shared=True)"
)

STANDS_STILL = {
    f"r-1 waits on queue 'q', which no process has registered: {ADVICE}": look(
        [row("r"), enqueued()], child()
    ),
    f"r-1 waits on queue 'q', which no process serves: {ADVICE}": look(
        [row("r"), enqueued()], child(), queues={"q": RegisteredQueue(served=False)}
    ),
    "r-1 is ENQUEUED for version 'old', which no process of this run has": look(
        [row("r"), enqueued(version="old")], child(), queues=SERVED
    ),
    "r-1 waits for a place on queue 'q': its limit is 1, and r waits there for something else"
    "": look([row("r", queue="q"), enqueued()], child(), queues={"q": FULL}),
    "r waits for ever: its child r-1 does not exist": look([row("r")], child()),
    "r waits for ever: workflow x does not exist": look([row("r")], child("x")),
    "workflow r does not exist": look([]),
    "r-1 is PENDING, and nobody works on it": look([row("r"), row("r-1")], child()),
    "r-1 is PENDING, and nobody works on it: a CancelledError left its step `fetch`": look(
        [row("r"), row("r-1")],
        child(),
        left={"r-1": Departure("CancelledError", "fetch"), "r": Departure("CancelledError")},
    ),
    "r is PENDING, and nobody works on it: a SystemExit left its body": look(
        [row("r")], left={"r": Departure("SystemExit")}
    ),
    "r is PENDING, and nobody works on it: this process has no workflow 'flow'": look(
        [row("r")], registered=frozenset({"another"})
    ),
    "r waits for a message on topic 'go' that nobody has sent": look(
        [row("r")], Wait("r", "message", key="go")
    ),
    "r waits for a message that nobody has sent": look(
        [row("r")], Wait("r", "message", key="none"), messages=frozenset({("r", "go")})
    ),
    "r waits for event 'x' of workflow y, which ended without setting it": look(
        [row("r"), row("y", "SUCCESS")],
        Wait("r", "event", ("y",), "x"),
        events=frozenset({("y", "z")}),
    ),
    "r waits for event 'x' of workflow y, which does not exist": look(
        [row("r")], Wait("r", "event", ("y",), "x")
    ),
    "r waits for the end of r-1, which does not come (and 1 more like it)": look(
        [row("r"), row("r-1")], child(), child("r", of="r-1")
    ),
    "r-2 is PENDING, and nobody works on it": look(
        [row("r"), row("r-1", "SUCCESS"), row("r-2")], Wait("r", "results", ("r-1", "r-2"))
    ),
}

MOVES = {
    "nothing is left": look([row("r", "SUCCESS")]),
    "a child has ended": look([row("r"), row("r-1", "ERROR")], child()),
    "one of two has ended": look(
        [row("r"), row("r-1", "CANCELLED"), row("r-2")], child("r-2", "r-1")
    ),
    "its queue is served": look([row("r"), enqueued()], child(), queues=SERVED),
    "its queue is DBOS's own": look([row("r"), enqueued(queue="_dbos_internal_queue")], child()),
    "others have the places of its queue": look(
        [row("r"), enqueued()], child(), queues={"q": FULL}
    ),
    "it is enqueued for any version": look(
        [row("r"), enqueued(version=None)], child(), queues=SERVED
    ),
    "a delay ends": look([row("r"), row("r-1", "DELAYED", delayed_until=NOW)], child()),
    "another executor has it": look([row("r"), row("r-1", executor_id="other")], child()),
    "it has a timeout": look([row("r"), row("r-1", deadline=NOW)], child()),
    "a message has come": look(
        [row("r")], Wait("r", "message", key="go"), messages=frozenset({("r", "go")})
    ),
    "it gives up": look([row("r")], Wait("r", "message", key="go", ends_at=NOW)),
    "an event is set": look(
        [row("r"), row("y", "SUCCESS")],
        Wait("r", "event", ("y",), "x"),
        events=frozenset({("y", "x")}),
    ),
    "it sleeps": look([row("r")], Wait("r", "sleep", ends_at=NOW)),
    "one of its two waits ends": look(
        [row("r"), row("r-1")], child(), Wait("r", "sleep", ends_at=NOW)
    ),
    "a schedule may start more": look([row("r")], child(), scheduled=True),
}


@pytest.mark.parametrize("reason", STANDS_STILL)
def test_what_cannot_move_is_told_with_its_reason(reason: str) -> None:
    assert name_blockage(find_standstill(STANDS_STILL[reason])) == reason


@pytest.mark.parametrize("why", MOVES)
def test_what_may_move_is_no_standstill(why: str) -> None:
    assert not find_standstill(MOVES[why])


@pytest.mark.parametrize("why", ["a delay ends", "it has a timeout", "it gives up", "it sleeps"])
def test_what_moves_after_a_deadline_does_not_count(why: str) -> None:
    found = find_standstill(MOVES[why], before=NOW - 1)
    assert min(blockage.until for blockage in found) == NOW
    assert not find_standstill(MOVES[why], before=NOW + 1)


def test_the_reason_is_that_of_the_one_for_which_others_wait() -> None:
    found = find_standstill(
        look([row("r"), row("r-1"), row("r-2")], child(), child("r-2", of="r-1"))
    )
    assert [blockage.workflow_id for blockage in found] == ["r-2", "r", "r-1"]
    assert {blockage.until for blockage in found} == {math.inf}


def test_whatever_is_done_meanwhile_changes_the_fingerprint() -> None:
    before = look([row("r"), enqueued()], child())
    assert before.fingerprint == look([row("r"), enqueued()], child()).fingerprint
    for after in (
        look([row("r"), enqueued(updated_ms=1)], child()),
        look([row("r")], child()),
        look([row("r"), enqueued()], replace(child(), number=1)),
        look([row("r"), enqueued()], child(), active=frozenset()),
        look([row("r"), enqueued()], child(), messages=frozenset({("r", "go")})),
    ):
        assert after.fingerprint != before.fingerprint
