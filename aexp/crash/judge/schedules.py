"""What becomes of schedules: times that pass while nothing lives, and days on which clocks change.

Times are computed as DBOS does (3.4, ``_scheduler.py``), by croniter in the schedule's time zone.
Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

from croniter import croniter

from aexp.crash.judge.downtimes import Downtime
from aexp.crash.judge.durations import write_duration
from aexp.crash.judge.evidence import Evidence, ScheduleRecord
from aexp.model.promise import Anomaly

__all__ = ["describe_clock_changes", "describe_missed"]

# More times than that are not counted.
_MOST = 10_000
# Whoever has more times a day does not mind one more or less.
_FEW_A_DAY = 12
_DAY = timedelta(days=1)


def describe_missed(found: Evidence, downtime: Downtime) -> list[Anomaly]:
    """Say of each schedule how many of its times passed in the ``downtime``, and how many of these
    DBOS has started since.
    """
    began = found.clock_offset_s + downtime.began_at
    started = {row.workflow_id for row in found.workflows}
    told = []
    for schedule in found.schedules:
        missed = list(islice(_times(schedule, began, began + downtime.seconds), _MOST))
        if not missed:
            continue
        made_up = sum(f"sched-{schedule.name}-{time.isoformat()}" in started for time in missed)
        number = f"{len(missed)} or more" if len(missed) == _MOST else str(len(missed))
        told.append(
            Anomaly(
                f"in a downtime of {write_duration(downtime.seconds)} schedule `{schedule.name}`"
                f" ({schedule.cron}) has {number} of its times, and DBOS has started"
                f" {made_up or 'none'} of them since: automatic_backfill is"
                f" {'on' if schedule.backfill else 'off'}",
                [{"first": missed[0].isoformat(), "last": missed[-1].isoformat()}],
                kind="missed_times",
                cause=schedule.name,
            )
        )
    return told


def describe_clock_changes(found: Evidence) -> list[Anomaly]:
    """Say of each schedule in a time zone what it does on the days of the coming year on which
    clocks change there, where that is not what it does on others.
    """
    today = datetime.fromtimestamp(found.clock_offset_s + _last_seen(found), UTC).date()
    told = []
    for schedule in found.schedules:
        if schedule.timezone is None:
            continue
        for day in _changes(schedule.timezone, today):
            usual, times = _of_day(schedule, day - 7 * _DAY), _of_day(schedule, day)
            if len(usual) > _FEW_A_DAY or _walls(times) == _walls(usual):
                continue
            twice = [wall for wall, number in Counter(_walls(times)).items() if number > 1]
            told.append(
                Anomaly(
                    f"schedule `{schedule.name}` ({schedule.cron}, {schedule.timezone}) fires"
                    + (" twice" if twice else "")
                    + f" on {day.isoformat()}, when clocks change there:"
                    f" {', '.join(f'{time:%H:%M%z}' for time in times) or 'never'}; a week before:"
                    f" {', '.join(_walls(usual)) or 'never'}",
                    kind="clock_change",
                    cause=f"{schedule.name} {day.isoformat()}",
                )
            )
    return told


def _walls(times: Sequence[datetime]) -> list[str]:
    """Return what clocks there show."""
    return [f"{time:%H:%M}" for time in times]


def _times(schedule: ScheduleRecord, after: float, until: float) -> Iterator[datetime]:
    """Yield the times between two epochs."""
    zone = UTC if schedule.timezone is None else ZoneInfo(schedule.timezone)
    last = datetime.fromtimestamp(until, UTC)
    times = croniter(schedule.cron, datetime.fromtimestamp(after, zone), second_at_beginning=True)
    yield from takewhile(lambda time: time < last, times.all_next(datetime))


def _of_day(schedule: ScheduleRecord, day: date) -> list[datetime]:
    """Return the times of one day there, too many to be told cut short."""
    assert schedule.timezone is not None
    zone = ZoneInfo(schedule.timezone)
    begins = datetime.combine(day, datetime.min.time(), zone)
    ends = datetime.combine(day + _DAY, datetime.min.time(), zone)
    # One that is just at midnight belongs to the day.
    times = _times(schedule, begins.timestamp() - 1, ends.timestamp())
    return list(islice(times, _FEW_A_DAY + 2))


def _changes(timezone: str, today: date) -> Iterator[date]:
    """Yield the days of the coming year on which clocks change in a time zone."""
    zone = ZoneInfo(timezone)
    midnights = (
        datetime.combine(today + number * _DAY, datetime.min.time(), zone) for number in range(367)
    )
    for one, next_one in pairwise(midnights):
        if one.utcoffset() != next_one.utcoffset():
            yield one.date()


def _last_seen(found: Evidence) -> float:
    return max((seen.at for seen in found.writes), default=0.0)
