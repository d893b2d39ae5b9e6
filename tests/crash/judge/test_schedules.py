"""What becomes of schedules in a downtime, and on days on which clocks change."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from aexp.crash.judge.downtimes import Downtime
from aexp.crash.judge.evidence import Evidence, ScheduleRecord, WorkflowRecord
from aexp.crash.judge.schedules import describe_clock_changes, describe_missed
from tests.support.histories import ROOT, history, wrote

HOURLY = ScheduleRecord("report", "0 * * * *", None, backfill=False)
# At 10 on the clock of the evidence the process was killed: 2026-11-27, 12:30 UTC.
KILLED = datetime(2026, 11, 27, 12, 30, tzinfo=UTC)


def found(schedule: ScheduleRecord, *, started: Sequence[str] = ()) -> Evidence:
    ticks = [
        WorkflowRecord(f"sched-{schedule.name}-{time}", "report", "SUCCESS") for time in started
    ]
    return history(
        workflows=[WorkflowRecord(ROOT, "sell", "SUCCESS"), *ticks],
        schedules=[schedule],
        clock_offset_s=KILLED.timestamp() - 10.0,
        writes=[wrote("begin", life=0, at=10.0)],
    )


def test_times_in_a_downtime_are_counted() -> None:
    (note,) = describe_missed(found(HOURLY), Downtime(10.0, 3 * 3600.0))
    assert note.summary == (
        "in a downtime of 3h schedule `report` (0 * * * *) has 3 of its times, and DBOS has started"
        " none of them since: automatic_backfill is off"
    )
    assert note.rows == [
        {"first": "2026-11-27T13:00:00+00:00", "last": "2026-11-27T15:00:00+00:00"}
    ]


def test_those_that_were_made_up_for_are_told() -> None:
    made_up = [f"2026-11-27T{hour}:00:00+00:00" for hour in (13, 14)]
    schedule = ScheduleRecord("report", "0 * * * *", "UTC", backfill=True)
    (note,) = describe_missed(found(schedule, started=made_up), Downtime(10.0, 2 * 3600.0))
    assert "has 2 of its times, and DBOS has started 2 of them since" in note.summary
    assert note.summary.endswith("automatic_backfill is on")


def test_a_schedule_without_a_time_in_it_is_not_told() -> None:
    assert describe_missed(found(HOURLY), Downtime(10.0, 60.0)) == []


def test_very_many_are_not_counted() -> None:
    schedule = ScheduleRecord("beat", "* * * * * *", None, backfill=False)
    (note,) = describe_missed(found(schedule), Downtime(10.0, 30 * 86_400.0))
    assert "has 10000 or more of its times" in note.summary


def test_a_time_that_comes_twice_or_never_is_told() -> None:
    nightly = ScheduleRecord("nightly", "30 2 * * *", "Europe/Berlin", backfill=False)
    spring, autumn = describe_clock_changes(found(nightly))
    assert spring.summary == (
        "schedule `nightly` (30 2 * * *, Europe/Berlin) fires on 2027-03-28, when clocks change"
        " there: 03:00+0200; a week before: 02:30"
    )
    assert autumn.summary == (
        "schedule `nightly` (30 2 * * *, Europe/Berlin) fires twice on 2027-10-31, when clocks"
        " change there: 02:30+0200, 02:30+0100; a week before: 02:30"
    )


@pytest.mark.parametrize(
    "schedule",
    [
        ScheduleRecord("utc", "30 2 * * *", None, backfill=False),
        ScheduleRecord("afternoon", "30 14 * * *", "Europe/Berlin", backfill=False),
        ScheduleRecord("hourly", "0 * * * *", "Europe/Berlin", backfill=False),
        ScheduleRecord("each_second", "* * * * * *", "Europe/Berlin", backfill=False),
        ScheduleRecord("no_change", "30 2 * * *", "Asia/Tokyo", backfill=False),
    ],
    ids=lambda schedule: schedule.name,
)
def test_a_schedule_that_minds_no_change_of_clocks_is_not_told(schedule: ScheduleRecord) -> None:
    assert describe_clock_changes(found(schedule)) == []


def test_what_is_told_is_what_dbos_does() -> None:
    """The times are those of the iterator that DBOS asks (3.4, ``_scheduler.py``)."""
    from croniter import croniter

    start = datetime(2027, 10, 31, 0, 0, tzinfo=ZoneInfo("Europe/Berlin"))
    times = croniter("30 2 * * *", start, second_at_beginning=True)
    assert [times.get_next(datetime).isoformat() for _ in range(2)] == [
        "2027-10-31T02:30:00+02:00",
        "2027-10-31T02:30:00+01:00",
    ]
