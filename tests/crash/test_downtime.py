"""What depends on how long nothing lived is told, and what is broken by it is broken."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import pytest

from aexp.crash.judge.durations import DEADLINES, parse_down, parse_duration, write_duration
from aexp.crash.judge.points import Side, parse_point
from aexp.crash.results import PointResult
from aexp.database import DatabaseUrl
from aexp.errors import UsageError
from aexp.model.promise import Anomaly
from tests.conftest import TEMPLATE
from tests.support.cli import Cli
from tests.support.explorations import PLANTED, explore, struck

DOWNTIME = PLANTED / "pairs" / "downtime.py"
STEP = "after:insert dbos.operation_outputs [~:{}]#1"
# What the child sleeps, while its parent waits.
CHILD_SLEEPS = "after:insert dbos.operation_outputs [~-1:1]#1"


def down(server: DatabaseUrl, workflow: str, point: str, seconds: str = "3d") -> PointResult:
    result = struck(server, f"{DOWNTIME}:{workflow}", f"{point} then down:{seconds}")
    assert result.void is None
    return result


def dependences(result: PointResult) -> Sequence[Anomaly]:
    return [note for note in result.notes if note.kind == "depends_on_downtime"]


TIMED_OUT = (
    "after a downtime of 3d `DBOS.recv` for 'approval' of `waits_an_hour` (1h) has timed out:"
    " the workflow returns nobody answered, and approved without a fault"
)
CANCELLED = (
    "after a downtime of 3d the timeout of `down_slow` (1h) has passed: 1 workflow is left"
    " CANCELLED: down_slow; the workflow returns DBOSAwaitedWorkflowCancelledError, and slow"
    " without a fault"
)
LATE = (
    "after a downtime of 3d what follows from step `down_lapsed` is otherwise: the workflow returns"
    " late, and in time without a fault"
)


@pytest.mark.parametrize(
    ("workflow", "point", "told"),
    [
        ("waits_an_hour", STEP.format(3), TIMED_OUT),
        pytest.param("limits_an_hour", CHILD_SLEEPS, CANCELLED, marks=pytest.mark.nightly),
        pytest.param("looks_at_the_clock", STEP.format(2), LATE, marks=pytest.mark.nightly),
    ],
)
def test_what_depends_on_downtime_is_told_with_its_deadline(
    server: DatabaseUrl, workflow: str, point: str, told: str
) -> None:
    result = down(server, workflow, point)
    assert result.held is True, result.broken
    (dependence,) = dependences(result)
    assert dependence.summary == told


@pytest.mark.parametrize(
    ("workflow", "point"),
    [
        ("limits_what_begins_late", STEP.format(1)),
        pytest.param("waits_ten_days", STEP.format(3), marks=pytest.mark.nightly),
        pytest.param("sleeps", STEP.format(1), marks=pytest.mark.nightly),
    ],
)
def test_what_no_downtime_changes_is_not_told(
    server: DatabaseUrl, workflow: str, point: str
) -> None:
    result = down(server, workflow, point)
    assert result.held is True, result.broken
    assert dependences(result) == []


@pytest.mark.parametrize(
    ("workflow", "point", "kind"),
    [
        ("wrong_clock_in_a_body", STEP.format(3), "ended_otherwise"),
        pytest.param(
            "wrong_second_charge", STEP.format(4), "effect_repeated", marks=pytest.mark.nightly
        ),
        pytest.param(
            "wrong_memory_beside_a_wait",
            STEP.format(4),
            "result_differs",
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_what_a_downtime_breaks_or_does_not_mend_is_broken(
    server: DatabaseUrl, workflow: str, point: str, kind: str
) -> None:
    result = down(server, workflow, point)
    assert result.held is False
    assert kind in {
        anomaly.kind for verdict in result.broken for anomaly in verdict.anomalies or ()
    }


def test_each_deadline_is_tried_just_before_and_just_after(server: DatabaseUrl) -> None:
    found = explore(
        server, f"{DOWNTIME}:waits_an_hour", sides=[Side.BEFORE], down=[DEADLINES], points=6
    )
    assert found.ok, found.as_json()
    around = {
        result.point.down_s: dependences(result)
        for result in found.results
        if result.point is not None and result.point.down_s is not None
    }
    before, after = sorted(seconds for seconds in around if seconds > 60)
    assert 3585 < before < 3595
    assert 3598 < after < 3602
    assert around[before] == []
    assert len(around[after]) == 1
    # The sleep of the child is too short for anything to begin before its end.
    assert len(around) == 3


@pytest.mark.nightly
def test_what_a_schedule_misses_is_told(server: DatabaseUrl) -> None:
    result = down(server, "schedules", STEP.format(2))
    assert result.held is True, result.broken
    (missed,) = [note for note in result.notes if note.kind == "missed_times"]
    assert "schedule `nightly` (30 2 * * *) has 3 of its times" in missed.summary


@pytest.mark.nightly
def test_a_downtime_comes_back_by_its_line(cli: Cli) -> None:
    point = f"{STEP.format(4)} then down:3d"
    chosen = ["--replay", point, "--template", TEMPLATE, "--json"]
    done = cli("crash", f"{DOWNTIME}:wrong_second_charge", *chosen)
    assert done.code == 1, done.stderr
    assert [(each["point"], each["side"]) for each in done.json["points"]] == [
        (point, "after then down:3d")
    ]
    repeated = next(each for each in done.json["findings"] if each["kind"] == "effect_repeated")
    assert shlex.split(repeated["replay"])[-2:] == ["--replay", point]


@pytest.mark.parametrize(
    ("command", "arguments", "told"),
    [
        ("crash", ["--down", "soon"], "'soon' is no duration: write 3d, 12h, 90s or 1h30m"),
        ("crash", ["--down", "0s"], "'0s' is no duration"),
        ("crash", ["--down", "99999999d"], "at most 36500d"),
        ("crash", ["--replay", f"{STEP.format(1)} then down:x"], "'x' is no duration"),
        ("crash", ["--replay", STEP.format(1), "--down", "3d"], "--down would choose others"),
        (
            "crash",
            ["--replay", "lost-ack:update x#1 then down:3d"],
            "kills nobody who could be restarted",
        ),
        (
            "crash",
            ["--replay", f"{STEP.format(1)} then restart:other-version then down:3d"],
            "after its faults comes one thing at most",
        ),
        (
            "determinism",
            ["--replay", f"{STEP.format(1)} then down:3d"],
            "is a point of `aexp crash`: replay it there",
        ),
    ],
)
def test_bad_use_is_one_line(cli: Cli, command: str, arguments: list[str], told: str) -> None:
    done = cli(command, f"{DOWNTIME}:sleeps", *arguments)
    assert done.code == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "seconds"), [("3d", 259_200), ("1h30m", 5_400), ("58.5s", 58.5), ("1d1s", 86_401)]
)
def test_durations_are_read_as_they_are_written(text: str, seconds: float) -> None:
    assert parse_duration(text) == parse_down(text) == seconds
    assert write_duration(seconds) == text
    point = parse_point(f"{STEP.format(1)} then down:{text}")
    assert point.down_s == seconds
    assert str(point).endswith(f"then down:{text}")


@pytest.mark.parametrize("text", ["", "3", "d", "3 d", "3d!", "-3d", "3w"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no duration"):
        parse_duration(text)
