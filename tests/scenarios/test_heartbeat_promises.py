"""What ``heartbeat`` promises, as pure functions: a clean history holds, a planted violation is
named with its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aexp.model.promise import SAMPLE, judge
from aexp.scenarios.heartbeat.promises import (
    PROMISES,
    Beat,
    Firing,
    HeartbeatEvidence,
    account,
)
from tests.support.violations import Rows, anomalies_of

EVERY_S = 5
# A time of the schedule.
START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
JITTER = timedelta(seconds=0.25)
PID = 41


def due(tick: int) -> datetime:
    return START + tick * timedelta(seconds=EVERY_S)


def workflow_id(tick: int) -> str:
    return f"sched-heartbeat.r-{due(tick).isoformat()}"


def beat_of(tick: int, late: timedelta = JITTER) -> Beat:
    return Beat(workflow_id(tick), due(tick), due(tick) + late, PID)


def firing_of(tick: int, late: timedelta = JITTER / 2) -> Firing:
    return Firing(workflow_id(tick), due(tick), due(tick) + late)


def history(ticks: Sequence[int], *, backfill: bool = True, asked: int = 3) -> HeartbeatEvidence:
    """A run in which ``ticks`` ran in time, whose schedule was made a second before the first."""
    return HeartbeatEvidence(
        asked=asked,
        every_s=EVERY_S,
        backfill=backfill,
        since=due(0) - timedelta(seconds=1),
        ended=True,
        beats=[beat_of(tick) for tick in ticks],
        firings=[firing_of(tick) for tick in ticks],
        bodies={workflow_id(tick): 1 for tick in ticks},
        starts=[due(0) - timedelta(seconds=2)],
    )


CLEAN = history(range(4))


def broken(evidence: HeartbeatEvidence) -> dict[str, list[tuple[str, Rows]]]:
    return anomalies_of(PROMISES, evidence)


def unjudged(evidence: HeartbeatEvidence) -> set[str]:
    return {verdict.name for verdict in judge(PROMISES, evidence) if verdict.held is None}


def test_a_clean_history_keeps_every_promise() -> None:
    assert broken(CLEAN) == {}
    assert unjudged(CLEAN) == set()


def test_a_tick_that_was_recorded_twice_is_named() -> None:
    again = replace(beat_of(2), actual=due(2) + 2 * JITTER, pid=42)
    [(summary, rows)] = broken(replace(CLEAN, beats=[*CLEAN.beats, again]))["at_most_once"]
    assert summary == "1 ticks were recorded more than once"
    assert [(row["scheduled"], row["pid"]) for row in rows] == [
        (due(2).isoformat(), 41),
        (due(2).isoformat(), 42),
    ]


def test_a_tick_with_two_workflows_is_named() -> None:
    other = replace(firing_of(1), workflow_id="sched-heartbeat.r-2026-03-01T12:00:05Z")
    found = broken(replace(CLEAN, firings=[*CLEAN.firings, other]))
    assert found == {
        "at_most_once": [
            (
                "1 ticks have more than one workflow",
                [{"scheduled": due(1).isoformat(), "workflows": 2}],
            )
        ]
    }


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_tick_that_was_not_made_up_for_is_named(missing: int) -> None:
    ticks = [tick for tick in range(4) if tick != missing]
    assert broken(history(ticks)) == {
        "every_tick": [
            (
                "1 of 4 ticks never ran, although they are to be made up for",
                [{"scheduled": due(missing).isoformat()}],
            )
        ]
    }


def test_a_tick_that_was_fired_last_and_never_ran_is_missing() -> None:
    evidence = replace(CLEAN, firings=[*CLEAN.firings, firing_of(4)])
    [(_, rows)] = broken(evidence)["every_tick"]
    assert rows == [{"scheduled": due(4).isoformat()}]


def test_without_backfill_missed_ticks_are_counted_and_break_nothing() -> None:
    evidence = history([0, 1, 5, 6], backfill=False)
    assert broken(evidence) == {}
    assert unjudged(evidence) == {"every_tick"}
    assert account(evidence)["heartbeat"]["missed"] == 3


def test_too_few_ticks_are_named() -> None:
    assert broken(history(range(2))) == {"enough": [("only 2 of 3 ticks ran", [])]}
    assert broken(replace(CLEAN, beats=(), firings=())) == {
        "enough": [("only 0 of 3 ticks ran", [])]
    }


def test_a_tick_before_its_time_is_named() -> None:
    early = beat_of(3, late=-JITTER)
    evidence = replace(CLEAN, beats=[*CLEAN.beats[:3], early])
    [(summary, rows)] = broken(evidence)["on_schedule"]
    assert summary == "1 ticks ran before their time"
    assert rows[0]["workflow_id"] == workflow_id(3)


@pytest.mark.parametrize(
    "stray",
    [
        pytest.param(due(1) + timedelta(seconds=1), id="between two ticks"),
        pytest.param(due(1) + timedelta(microseconds=1), id="a microsecond off"),
        pytest.param(due(-1), id="before the schedule existed"),
    ],
)
def test_what_is_no_tick_of_the_schedule_is_named(stray: datetime) -> None:
    row = Beat("stray", stray, stray + JITTER, PID)
    firing = Firing("stray", stray, stray)
    evidence = replace(CLEAN, beats=[*CLEAN.beats, row], firings=[*CLEAN.firings, firing])
    [(summary, rows)] = broken(evidence).pop("on_schedule")
    assert summary == "2 that are no tick of the schedule"
    assert {row["workflow_id"] for row in rows} == {"stray"}


def test_a_row_under_the_workflow_of_another_tick_is_named() -> None:
    strange = replace(beat_of(3), workflow_id=workflow_id(2))
    evidence = replace(CLEAN, beats=[*CLEAN.beats[:3], strange])
    [(summary, rows)] = broken(evidence)["on_schedule"]
    assert summary == "1 that are no tick of the schedule"
    assert rows[0]["scheduled"] == due(3).isoformat()


def test_a_workflow_whose_id_says_no_time_is_named() -> None:
    by_hand = Firing("sched-heartbeat.r-trigger-2026-03-01T12:00:01", None, due(1))
    found = broken(replace(CLEAN, firings=[*CLEAN.firings, by_hand]))
    assert found["on_schedule"] == [
        ("1 that are no tick of the schedule", [{"workflow_id": by_hand.workflow_id}])
    ]


def test_a_schedule_that_outlives_its_run_is_named() -> None:
    assert broken(replace(CLEAN, left=["heartbeat.r"])) == {
        "schedule_removed": [
            (
                "the run has ended but its schedule is still there",
                [{"schedule": "heartbeat.r"}],
            )
        ]
    }


def test_before_the_end_neither_ticks_on_their_way_nor_the_schedule_are_judged() -> None:
    evidence = replace(history([0, 1, 3]), ended=False, left=["heartbeat.r"])
    assert broken(evidence) == {}
    assert unjudged(evidence) == {"every_tick", "schedule_removed"}


def test_without_any_tick_nothing_is_said_of_ticks() -> None:
    evidence = replace(CLEAN, beats=(), firings=(), since=None)
    assert unjudged(evidence) == {"at_most_once", "every_tick", "on_schedule"}


def test_anomalies_are_samples_however_far_a_stray_is() -> None:
    far = Beat("far", START + timedelta(days=100_000), START, PID)
    found = broken(replace(CLEAN, beats=[*CLEAN.beats, far]))
    assert len(found["every_tick"][0][1]) == SAMPLE
    report = account(replace(CLEAN, beats=[*CLEAN.beats, far]))
    assert len(report["ticks"]) == SAMPLE
    assert report["others"] == report["heartbeat"]["ran"] + report["heartbeat"]["missed"] - SAMPLE


def test_the_account_says_how_each_tick_came() -> None:
    # Killed after tick 1 was enqueued; the next process started between ticks 3 and 4.
    back = due(3) + timedelta(seconds=2)
    evidence = replace(
        CLEAN,
        beats=[beat_of(0), *(replace(beat_of(tick), actual=back + JITTER) for tick in (1, 2, 3))],
        firings=[
            firing_of(0),
            firing_of(1),
            *(replace(firing_of(tick), enqueued=back + JITTER / 2) for tick in (2, 3)),
        ],
        bodies={**CLEAN.bodies, workflow_id(1): 2},
        starts=[*CLEAN.starts, back],
    )
    report = account(evidence)
    assert report["heartbeat"] == {
        "asked": 3,
        "ran": 4,
        "missed": 0,
        "made_up": 2,
        "recovered": 1,
        "latest_s": 12.25,
    }
    assert [row["came"] for row in report["ticks"]] == [
        "in time",
        "recovered",
        "made up",
        "made up",
    ]
    assert report["ticks"][1] == {
        "scheduled": "2026-03-01T12:00:05Z",
        "actual": "12:00:17.250",
        "lateness_s": 12.25,
        "pid": PID,
        "bodies": 2,
        "came": "recovered",
    }


def test_the_account_shows_a_missed_tick_in_its_place() -> None:
    report = account(history([0, 2, 3], backfill=False))
    assert [row["came"] for row in report["ticks"]] == ["in time", "missed", "in time", "in time"]
    assert report["ticks"][1]["actual"] is None
    assert "others" not in report


ticks_that_ran = st.sets(st.integers(0, 60), min_size=1)


@given(ticks_that_ran)
def test_with_backfill_what_is_missing_is_all_that_is_named(ran: set[int]) -> None:
    found = broken(history(sorted(ran), asked=1))
    missing = [due(tick).isoformat() for tick in range(max(ran)) if tick not in ran]
    if not missing:
        assert found == {}
        return
    [(summary, rows)] = found.pop("every_tick")
    assert found == {}
    assert summary.startswith(f"{len(missing)} of {max(ran) + 1} ticks")
    assert [row["scheduled"] for row in rows] == missing[:SAMPLE]


@given(ticks_that_ran)
def test_the_account_adds_up(ran: set[int]) -> None:
    report = account(history(sorted(ran), backfill=False))
    figures = report["heartbeat"]
    assert figures["ran"] == len(ran)
    assert figures["ran"] + figures["missed"] == max(ran) - min(ran) + 1
    assert len(report["ticks"]) + report.get("others", 0) == figures["ran"] + figures["missed"]


@given(st.data(), ticks_that_ran)
def test_any_doubled_tick_is_found(data: st.DataObject, ran: set[int]) -> None:
    doubled = data.draw(st.sampled_from(sorted(ran)))
    evidence = history(sorted(ran), backfill=False, asked=1)
    again = replace(evidence, beats=[*evidence.beats, beat_of(doubled)])
    assert set(broken(again)) == {"at_most_once"}
