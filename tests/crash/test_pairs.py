"""Each kind of finding has a workflow that it must find, and a right one that it must not."""

from __future__ import annotations

import pytest

from aexp.crash.judge.points import Side
from aexp.crash.judge.results import Exploration
from aexp.database import DatabaseUrl
from tests.support.explorations import PLANTED, explore

PAIRS = f"{PLANTED}/pairs.py"
KILLS = (Side.BEFORE, Side.AFTER)

# What must be found, at one point or more.
WRONG = {
    "wrong_insert": "rows_repeated",
    "wrong_update": "rows_differ",
    "wrong_body": "effect_in_body",
    "wrong_event": "event_differs",
    "wrong_event_beside_an_id": "event_differs",
    "wrong_stream": "stream_repeated",
    "wrong_child": "child_started_twice",
    "wrong_awaiting": "replay_differs",
    "wrong_order": "other_call",
    "wrong_key": "other_arguments",
    "wrong_context": "other_arguments",
}
RIGHT = [
    "right_insert",
    "right_update",
    "right_body",
    "right_event",
    "right_event_beside_an_id",
    "right_stream",
    "right_child",
    "right_timeout",
    "right_awaiting",
    "right_order",
    "right_key",
    "right_context",
    "right_polling",
    "right_branch",
    "right_sync",
]


def kinds(exploration: Exploration) -> set[str]:
    """The kinds of what broke a promise anywhere."""
    return {
        anomaly.kind
        for result in exploration.broken
        for verdict in result.broken
        for anomaly in verdict.anomalies or ()
    }


@pytest.mark.parametrize("workflow", WRONG)
def test_the_wrong_one_is_found(server: DatabaseUrl, workflow: str) -> None:
    found = explore(server, f"{PAIRS}:{workflow}", sides=KILLS)
    assert WRONG[workflow] in kinds(found), found.as_json()["broken"]
    assert not found.ok


@pytest.mark.parametrize("workflow", RIGHT)
def test_the_right_one_is_not_accused(server: DatabaseUrl, workflow: str) -> None:
    found = explore(server, f"{PAIRS}:{workflow}", sides=KILLS)
    assert found.broken == [], found.as_json()["broken"]
    assert found.ok, found.as_json()
