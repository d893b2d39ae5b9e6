"""Each kind of finding has a workflow that it must find, and a right one that it must not."""

from __future__ import annotations

import pytest

from aexp.crash.judge.points import Side, parse_point
from aexp.crash.results import Exploration
from aexp.database import DatabaseUrl
from tests.conftest import TEMPLATE
from tests.support.cli import Cli
from tests.support.explorations import PLANTED, explore
from tests.support.nightly import nightly_but

PAIRS = PLANTED / "pairs"
KILLS = (Side.BEFORE, Side.AFTER)

STEP = "insert dbos.operation_outputs [~:{}]#1"
FIRST, SECOND = STEP.format(1), STEP.format(2)
ANY = f"after:{FIRST}"
# The second step of the child that the first one starts, or the second one.
CHILD = "insert dbos.operation_outputs [~-1:2]#1"
SECOND_CHILD = "insert dbos.operation_outputs [~-2:2]#1"
BY_CLIENT = "insert dbos.workflow_status ENQUEUED + insert dbos.workflow_input [*]#1"

# Which kind must be found, and at which point at the latest.
WRONG = {
    "effects.py:wrong_insert": ("rows_repeated", "after:insert letters#1"),
    "effects.py:wrong_update": ("rows_differ", "after:update payments#1"),
    "effects.py:wrong_body": ("effect_in_body", ANY),
    "effects.py:wrong_sync": ("rows_repeated", "after:insert letters#1"),
    "effects.py:wrong_effect": ("effect_repeated", f"before:{FIRST}"),
    "memory.py:wrong_clock": ("replay_differs", ANY),
    "memory.py:wrong_alone": ("baseline_error", ANY),
    "memory.py:wrong_event": ("event_differs", f"before:{SECOND}"),
    "memory.py:wrong_event_beside_an_id": ("event_differs", f"after:{SECOND}"),
    "memory.py:wrong_stream": ("stream_repeated", f"before:{FIRST}"),
    "memory.py:wrong_rows_beside_an_id_and_a_poll": ("rows_missing", f"after:{STEP.format(3)}"),
    "children.py:wrong_child": ("child_started_twice", f"before:{FIRST}"),
    "children.py:wrong_awaiting": ("replay_differs", f"after:{SECOND}"),
    "calls.py:wrong_order": ("other_call", f"after:{FIRST}"),
    "calls.py:wrong_key": ("other_arguments", f"before:{SECOND}"),
    "calls.py:wrong_context": ("other_arguments", f"before:{SECOND}"),
    "family.py:wrong_forgotten": ("ended_otherwise", "after:insert taken#1"),
    "family.py:wrong_refusal": ("baseline_error", ANY),
    "family.py:wrong_child_memory": ("result_differs", f"after:{CHILD}"),
    "family.py:wrong_child_event_beside_an_id": ("event_differs", f"after:{SECOND_CHILD}"),
    "family.py:wrong_enqueuing_by_client": ("child_started_twice", f"after:{BY_CLIENT}"),
    "family.py:wrong_flush": ("rows_missing", f"after:{STEP.format(3)}"),
    "excuses.py:wrong_capital": ("rows_repeated", "after:insert payments#1"),
    "excuses.py:wrong_mark": ("rows_missing", "after:insert done#1"),
    "excuses.py:wrong_flush_that_counts": ("rows_missing", f"after:{STEP.format(3)}"),
    "excuses.py:wrong_decline": ("result_differs", "after:insert refunds#1"),
    "excuses.py:wrong_row_beside_a_used_id": ("rows_missing", "after:insert done#1"),
    "excuses.py:wrong_total_beside_an_id": ("rows_differ", f"after:{STEP.format(4)}"),
    "excuses.py:wrong_cell_beside_an_id": ("rows_differ", "after:update known#1"),
    "excuses.py:wrong_pair": ("result_differs", f"after:{STEP.format(3)}"),
    "excuses.py:wrong_event_of_a_child_with_an_id": ("event_differs", f"after:{SECOND_CHILD}"),
    "left_out.py:wrong_second_way": ("rows_repeated", f"after:{SECOND}"),
    "left_out.py:wrong_step_left_out": ("other_way", f"after:{FIRST}"),
    "left_out.py:wrong_child_left_out": ("child_missing", f"after:{FIRST}"),
    "left_out.py:wrong_result_that_nobody_awaits": ("result_differs", f"after:{CHILD}"),
    "left_out.py:wrong_effect_noted_first": ("effect_missing", "after:insert done#1"),
    "left_out.py:wrong_reference": ("rows_differ", f"after:{SECOND}"),
    "left_out.py:wrong_message": ("message_repeated", "after:insert dbos.notifications [~-2]#1"),
    "left_out.py:wrong_digits": ("rows_differ", "after:update totals#1"),
}
RIGHT = [
    "effects.py:right_insert",
    "effects.py:right_update",
    "effects.py:right_body",
    "effects.py:right_effect",
    "memory.py:right_clock",
    "memory.py:right_event",
    "memory.py:right_event_beside_an_id",
    "memory.py:right_stream",
    "children.py:right_child",
    "children.py:right_enqueuing",
    "children.py:right_timeout",
    "children.py:right_awaiting",
    "calls.py:right_order",
    "calls.py:right_key",
    "calls.py:right_context",
    "memory.py:right_polling",
    "memory.py:right_branch",
    "memory.py:right_sync",
    "memory.py:right_rows_beside_an_id_and_a_poll",
    "children.py:right_rewinding",
    "family.py:right_forgotten",
    "family.py:right_refused_child",
    "family.py:right_refusal",
    "family.py:right_child_memory",
    "family.py:right_child_event_beside_an_id",
    "family.py:right_enqueuing_by_client",
    "family.py:right_flush",
    "excuses.py:right_capital",
    "excuses.py:right_decline",
    "excuses.py:right_cells",
    "excuses.py:right_pair",
    "excuses.py:right_event_of_a_child_with_an_id",
    "left_out.py:right_second_way",
    "left_out.py:right_way",
    "left_out.py:right_effect_noted_afterwards",
    "left_out.py:right_reference",
    "left_out.py:right_handle",
    "left_out.py:right_message",
]


def kinds(exploration: Exploration) -> set[str]:
    """The kinds of what broke a promise anywhere."""
    return {
        anomaly.kind
        for result in exploration.broken
        for verdict in result.broken
        for anomaly in verdict.anomalies or ()
    }


@pytest.mark.parametrize("workflow", nightly_but(WRONG, *list(WRONG)[::2]))
def test_the_wrong_one_is_found(server: DatabaseUrl, workflow: str) -> None:
    kind, point = WRONG[workflow]
    found = explore(server, f"{PAIRS}/{workflow}", replay=parse_point(point))
    assert kind in kinds(found), found.as_json()["broken"]
    assert not found.ok


@pytest.mark.parametrize("workflow", nightly_but(RIGHT, *RIGHT[::3]))
def test_the_right_one_is_not_accused(server: DatabaseUrl, workflow: str) -> None:
    found = explore(server, f"{PAIRS}/{workflow}", sides=KILLS, points=2)
    assert found.broken == [], found.as_json()["broken"]
    assert found.ok, found.as_json()


def test_a_gap_in_a_sequence_is_no_loss(cli: Cli) -> None:
    done = cli(
        "crash", f"{PLANTED}/sequence.py:order", "--sides", "before",
        "--json", "--template", TEMPLATE,
    )  # fmt: skip
    assert done.code == 0, done.stdout
    repeated = {step["name"]: step["transactional"] for step in done.json["repeated_steps"]}
    assert repeated == {"create": True, "sell": True}


def test_an_error_that_is_expected_is_explored(server: DatabaseUrl) -> None:
    found = explore(
        server, f"{PAIRS}/memory.py:wrong_alone", sides=KILLS, points=2, expect_error=True
    )
    assert found.ok, found.as_json()
    assert len(found.planned) > 0


def test_a_step_that_must_run_once_is_found(server: DatabaseUrl) -> None:
    found = explore(
        server,
        f"{PAIRS}/calls.py:right_key",
        replay=parse_point(f"before:{SECOND}"),
        once=["publish"],
    )
    assert kinds(found) == {"effect_repeated"}
    (step,) = [step for step in found.repeated_steps if step.name == "publish"]
    assert step.most == 2


def test_a_table_that_is_ignored_is_compared_with_nothing(server: DatabaseUrl) -> None:
    found = explore(
        server,
        f"{PAIRS}/effects.py:wrong_insert",
        replay=parse_point("after:insert letters#1"),
        ignored_tables=["letters"],
    )
    assert found.ok, found.as_json()["broken"]
