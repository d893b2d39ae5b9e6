"""Each kind of finding has a workflow that it must find, and a right one that it must not."""

from __future__ import annotations

import pytest

from aexp.crash.judge.points import Side
from aexp.crash.judge.results import Exploration
from aexp.database import DatabaseUrl
from tests.conftest import TEMPLATE
from tests.support.cli import Cli
from tests.support.explorations import PLANTED, explore

PAIRS = f"{PLANTED}/pairs.py"
KILLS = (Side.BEFORE, Side.AFTER)

# What must be found, at one point or more.
WRONG = {
    "wrong_insert": "rows_repeated",
    "wrong_update": "rows_differ",
    "wrong_body": "effect_in_body",
    "wrong_sync": "rows_repeated",
    "wrong_effect": "effect_repeated",
    "wrong_clock": "replay_differs",
    "wrong_alone": "baseline_error",
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
    "right_effect",
    "right_clock",
    "right_event",
    "right_event_beside_an_id",
    "right_stream",
    "right_child",
    "right_enqueuing",
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


def test_a_gap_in_a_sequence_is_no_loss(cli: Cli) -> None:
    done = cli(
        "crash", f"{PLANTED}/sequence.py:order", "--sides", "before,after", "--json",
        "--template", TEMPLATE,
    )  # fmt: skip
    assert done.code == 0, done.stdout
    repeated = {step["name"]: step["transactional"] for step in done.json["repeated_steps"]}
    assert repeated == {"create": True, "sell": True}


def test_an_error_that_is_expected_is_explored(server: DatabaseUrl) -> None:
    found = explore(server, f"{PAIRS}:wrong_alone", sides=KILLS, expect_error=True)
    assert found.ok, found.as_json()
    assert len(found.planned) > 0


def test_a_step_that_must_run_once_is_found(server: DatabaseUrl) -> None:
    found = explore(server, f"{PAIRS}:right_key", sides=KILLS, once=["publish"])
    assert kinds(found) == {"effect_repeated"}
    (step,) = [step for step in found.repeated_steps if step.name == "publish"]
    assert step.most == 2


def test_a_table_that_is_ignored_is_compared_with_nothing(server: DatabaseUrl) -> None:
    found = explore(
        server, f"{PAIRS}:wrong_insert", sides=KILLS, ignored_tables=["letters"], points=8
    )
    assert found.ok, found.as_json()["broken"]
