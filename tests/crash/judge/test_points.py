"""The points of an exploration: which there are, which are chosen, how they are named."""

from __future__ import annotations

import pytest

from aexp.crash.judge.points import (
    SIDES,
    STOPS,
    Fault,
    Point,
    Restart,
    Side,
    order_pairs,
    order_points,
    order_replays,
    order_restarts,
    parse_point,
    sample,
    untried_kinds,
)
from aexp.crash.judge.worlds import World
from aexp.errors import UsageError

STEP = "insert dbos.operation_outputs [~:1]#1"
CLAIM = "update dbos.workflow_status PENDING [~]#1"
END = "update dbos.workflow_status SUCCESS + insert dbos.workflow_output [~]#1"


def test_every_write_is_a_point_on_every_side() -> None:
    points = order_points([CLAIM, STEP], SIDES)
    assert [str(point) for point in points] == [
        f"{side}:{write}" for write in (CLAIM, STEP) for side in ("before", "after", "lost-ack")
    ]


@pytest.mark.parametrize(
    "text",
    [
        f"before:{STEP}",
        f"lost-ack:{END}",
        f"postgres-before:{STEP}",
        f"postgres-after:{STEP}",
        f"after:{CLAIM} then before:{STEP}",
        f"after:{STEP} then restart:other-executor",
        f"zombie-before:{STEP}",
        f"zombie-after:{END}",
    ],
)
def test_a_point_is_found_again_by_its_name(text: str) -> None:
    assert str(parse_point(text)) == text


def test_a_server_is_stopped_on_two_sides_of_their_own() -> None:
    assert not set(SIDES) & set(STOPS)
    assert all(point.stops_server for point in order_points([STEP], STOPS))
    assert not any(point.stops_server for point in order_points([STEP], SIDES))


def test_a_point_knows_its_kind_and_its_sides() -> None:
    point = parse_point(f"after:{CLAIM} then before:{STEP}")
    assert point == Point((Fault(Side.AFTER, CLAIM), Fault(Side.BEFORE, STEP)))
    assert point.kind == "insert dbos.operation_outputs"
    assert point.side == "after then before"


@pytest.mark.parametrize(
    "text",
    [
        "",
        STEP,
        f"between:{STEP}",
        "before:insert t",
        "before:#1",
        "before:t#0",
        "before:t#x",
        "restart:other-version",
        f"after:{STEP} then restart:tomorrow",
        f"zombie-after:{STEP} then after:{END}",
        f"after:{STEP} then zombie-after:{END}",
        f"zombie-after:{STEP} then restart:other-version",
        f"postgres-after:{STEP} then restart:other-version",
        f"lost-ack:{STEP} then restart:other-executor",
    ],
)
def test_what_names_no_point_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no point"):
        parse_point(text)


def test_a_sample_is_the_same_for_the_same_seed_and_keeps_the_order() -> None:
    points = order_points([f"insert t [~:{n}]#1" for n in range(50)], SIDES)
    chosen = sample(points, 20, seed=1)
    assert len(chosen) == len(set(chosen)) == 20
    assert chosen == sample(points, 20, seed=1) == sorted(chosen, key=points.index)
    assert chosen != sample(points, 20, seed=2)


def test_a_sample_has_every_kind_before_any_comes_again() -> None:
    rare = order_points([CLAIM], [Side.BEFORE])
    points = order_points([f"insert t [~:{n}]#1" for n in range(50)], [Side.BEFORE]) + rare
    for seed in range(10):
        assert rare[0] in sample(points, 2, seed)


def test_a_sample_has_what_steps_do_before_what_is_noted_of_workflows() -> None:
    points = order_points([CLAIM, STEP, "insert payments#1", END], SIDES)
    for seed in range(10):
        assert {point.kind for point in sample(points, 2, seed)} == {
            "insert dbos.operation_outputs",
            "insert payments",
        }


def test_a_history_is_cut_after_each_checkpoint_and_before_each_end() -> None:
    worlds = frozenset({World.CLOCK, World.ORDER})
    transaction = "insert payments + insert dbos.datasource_outputs [~:2]#1"
    cuts = order_replays([CLAIM, STEP, "insert payments#1", transaction, END], worlds)
    assert [str(cut) for cut in cuts] == [
        f"after:{STEP} then in:clock+order",
        f"after:{transaction} then in:clock+order",
        f"before:{END} then in:clock+order",
        f"before:{END} then in:clock",
    ]
    assert [parse_point(str(cut)) for cut in cuts] == cuts
    # Where no order is otherwise there is nothing to try without it.
    assert len(order_replays([END], frozenset({World.CLOCK}))) == 1


def test_all_points_are_taken_when_there_are_no_more() -> None:
    points = order_points([CLAIM, STEP], SIDES)
    assert sample(points, None, 0) == sample(points, 6, 0) == sample(points, 99, 0) == points


def test_a_second_kill_comes_at_each_write_of_a_recovery() -> None:
    (first,) = order_points([STEP], [Side.AFTER])
    pairs = order_pairs({first: [CLAIM, END]}, SIDES)
    assert [str(pair) for pair in pairs] == [
        f"after:{STEP} then {side}:{write}"
        for write in (CLAIM, END)
        for side in ("before", "after")
    ]


def test_each_wrong_restart_follows_a_kill_in_the_middle() -> None:
    points = order_restarts([CLAIM, STEP, END], instances=True)
    assert [str(point) for point in points] == [
        f"after:{STEP} then restart:{restart}" for restart in Restart
    ]
    assert len(order_restarts([CLAIM, STEP, END], instances=False)) == 2


def test_kinds_of_writes_that_no_point_strikes_are_counted() -> None:
    writes = [CLAIM, STEP, STEP.replace("#1", "#2"), END]
    claimed = parse_point(f"before:{CLAIM}")
    assert untried_kinds(writes, [claimed]) == {
        "insert dbos.operation_outputs": 2,
        "update dbos.workflow_status SUCCESS + insert dbos.workflow_output": 1,
    }
    both = parse_point(f"after:{STEP} then before:{END}")
    assert untried_kinds(writes, [claimed, both]) == {}
