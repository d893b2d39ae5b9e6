"""What ``heartbeat`` promises: the evidence in the database, and pure judgements of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from aexp.model.promise import SAMPLE, Anomaly, Promise
from aexp.model.scenario import Account

__all__ = [
    "BEAT",
    "EVENT",
    "PROMISES",
    "SCHEDULE",
    "Beat",
    "Firing",
    "HeartbeatEvidence",
    "account",
]

SCHEDULE = "heartbeat"
BEAT = "heartbeat.beat"
EVENT = "heartbeat.ticked"


@dataclass(frozen=True, slots=True)
class Beat:
    """A row that a tick wrote: for which time, when, and in which process."""

    workflow_id: str | None
    scheduled: datetime
    actual: datetime
    pid: int


@dataclass(frozen=True, slots=True)
class Firing:
    """A workflow of a tick. ``scheduled`` is what its id says, None when it says no time."""

    workflow_id: str
    scheduled: datetime | None
    enqueued: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatEvidence:
    """What a run asked for, and all ticks that it left behind.

    ``since`` is when the schedule first existed, None when that was not recorded. ``ended`` says
    that the root workflow has ended, one way or the other. ``bodies`` counts by workflow how often
    a tick's body began, ``starts`` are the times at which processes did, and ``left`` are the
    schedules of the run that are still there.
    """

    asked: int
    every_s: int
    backfill: bool
    since: datetime | None
    ended: bool
    beats: Sequence[Beat] = ()
    firings: Sequence[Firing] = ()
    bodies: Mapping[str, int] = field(default_factory=dict)
    starts: Sequence[datetime] = ()
    left: Sequence[str] = ()

    def number(self, scheduled: datetime) -> int | None:
        """Return which tick a time is, counted from 1970, of which all our intervals are a part;
        None when it is no time of the schedule, or one before it existed.
        """
        number, beside = divmod(scheduled.astimezone(UTC) - _EPOCH, timedelta(seconds=self.every_s))
        if beside or (self.since is not None and scheduled <= self.since):
            return None
        return number

    def time(self, number: int) -> datetime:
        """Return when the tick of this number is due."""
        return _EPOCH + number * timedelta(seconds=self.every_s)

    def expected(self) -> range:
        """Return the numbers of all ticks up to the last one that was fired.

        From the moment when the schedule first existed if ticks are made up for, from the first
        that ran if not: some time passes until DBOS has noticed a schedule.
        """
        ran = {self.number(beat.scheduled) for beat in self.beats} - {None}
        fired = {self.number(f.scheduled) for f in self.firings if f.scheduled} - {None}
        numbers = [number for number in ran | fired if number is not None]
        if not numbers:
            return range(0)
        first = min(numbers)
        if self.backfill and self.since is not None:
            first = (self.since - _EPOCH) // timedelta(seconds=self.every_s) + 1
        return range(first, max(numbers) + 1)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _beats_by_number(evidence: HeartbeatEvidence) -> dict[int, list[Beat]]:
    found: defaultdict[int, list[Beat]] = defaultdict(list)
    for beat in evidence.beats:
        number = evidence.number(beat.scheduled)
        if number is not None:
            found[number].append(beat)
    return dict(found)


def _told(beat: Beat) -> dict[str, Any]:
    return {
        "workflow_id": beat.workflow_id,
        "scheduled": beat.scheduled.isoformat(),
        "actual": beat.actual.isoformat(),
        "pid": beat.pid,
    }


def _at_most_once(evidence: HeartbeatEvidence) -> Sequence[Anomaly] | None:
    if not evidence.beats and not evidence.firings:
        return None
    anomalies = []
    rows = Counter(beat.scheduled for beat in evidence.beats)
    twice = sorted(time for time, count in rows.items() if count > 1)
    if twice:
        shown = [_told(beat) for beat in evidence.beats if beat.scheduled in set(twice[:SAMPLE])]
        anomalies.append(Anomaly(f"{len(twice)} ticks were recorded more than once", shown))
    fired = Counter(firing.scheduled for firing in evidence.firings if firing.scheduled)
    doubled = sorted(time for time, count in fired.items() if count > 1)
    if doubled:
        anomalies.append(
            Anomaly(
                f"{len(doubled)} ticks have more than one workflow",
                [
                    {"scheduled": time.isoformat(), "workflows": fired[time]}
                    for time in doubled[:SAMPLE]
                ],
            )
        )
    return anomalies


def _every_tick(evidence: HeartbeatEvidence) -> Sequence[Anomaly] | None:
    expected = evidence.expected()
    # Without backfill ticks may be missed, and before the end some are on their way.
    if not evidence.backfill or not evidence.ended or not expected:
        return None
    beats = _beats_by_number(evidence)
    lost = len(expected) - len(beats)
    if not lost:
        return ()
    missing = (number for number in expected if number not in beats)
    return [
        Anomaly(
            f"{lost} of {len(expected)} ticks never ran, although they are to be made up for",
            [
                {"scheduled": evidence.time(number).isoformat()}
                for number in islice(missing, SAMPLE)
            ],
        )
    ]


def _enough(evidence: HeartbeatEvidence) -> Sequence[Anomaly] | None:
    ran = len(_beats_by_number(evidence))
    if ran >= evidence.asked:
        return ()
    if not evidence.ended:
        return None
    return [Anomaly(f"only {ran} of {evidence.asked} ticks ran")]


def _on_schedule(evidence: HeartbeatEvidence) -> Sequence[Anomaly] | None:
    if not evidence.beats and not evidence.firings:
        return None
    times = {firing.workflow_id: firing.scheduled for firing in evidence.firings}
    strays = [
        {"workflow_id": firing.workflow_id}
        for firing in evidence.firings
        if firing.scheduled is None or evidence.number(firing.scheduled) is None
    ]
    strays += [
        _told(beat)
        for beat in evidence.beats
        if evidence.number(beat.scheduled) is None
        or times.get(beat.workflow_id or "") != beat.scheduled
    ]
    early = [_told(beat) for beat in evidence.beats if beat.actual < beat.scheduled]
    anomalies = []
    if strays:
        anomalies.append(
            Anomaly(f"{len(strays)} that are no tick of the schedule", strays[:SAMPLE])
        )
    if early:
        anomalies.append(Anomaly(f"{len(early)} ticks ran before their time", early[:SAMPLE]))
    return anomalies


def _schedule_removed(evidence: HeartbeatEvidence) -> Sequence[Anomaly] | None:
    if not evidence.ended:
        return None
    if not evidence.left:
        return ()
    return [
        Anomaly(
            "the run has ended but its schedule is still there",
            [{"schedule": name} for name in evidence.left[:SAMPLE]],
        )
    ]


PROMISES: Sequence[Promise[HeartbeatEvidence]] = (
    Promise("at_most_once", "no tick runs twice", _at_most_once),
    Promise(
        "every_tick",
        "with backfill every tick runs, from the schedule's beginning to its last",
        _every_tick,
    ),
    Promise("enough", "as many ticks run as were asked for", _enough),
    Promise(
        "on_schedule",
        "each tick is one of the schedule's and does not run before its time",
        _on_schedule,
    ),
    Promise("schedule_removed", "no schedule outlives its run", _schedule_removed),
)


def account(evidence: HeartbeatEvidence) -> Account:
    """Return the figures for people, as JSON values."""
    expected = evidence.expected()
    beats = _beats_by_number(evidence)
    enqueued = {firing.workflow_id: firing.enqueued for firing in evidence.firings}
    came = {number: _came(evidence, beats[number][0], enqueued) for number in sorted(beats)}
    ways = Counter(came.values())
    summary: dict[str, Any] = {
        "heartbeat": {
            "asked": evidence.asked,
            "ran": len(beats),
            "missed": len(expected) - len(beats),
            "made_up": ways["made up"],
            "recovered": ways["recovered"],
            "latest_s": max((_lateness_s(beat) for beat in evidence.beats), default=None),
        },
        "ticks": list(islice(_rows(evidence, beats, came), SAMPLE)),
    }
    if len(expected) > SAMPLE:
        summary["others"] = len(expected) - SAMPLE
    return summary


def _rows(
    evidence: HeartbeatEvidence, beats: Mapping[int, Sequence[Beat]], came: Mapping[int, str]
) -> Iterator[Mapping[str, Any]]:
    for number in evidence.expected():
        scheduled = f"{evidence.time(number):%Y-%m-%dT%H:%M:%SZ}"
        if number not in beats:
            yield {"scheduled": scheduled, "actual": None, "came": "missed"}
            continue
        for beat in beats[number]:
            yield {
                "scheduled": scheduled,
                # The date can be told from the lateness; with it the row would be too long to read.
                "actual": beat.actual.astimezone(UTC).time().isoformat("milliseconds"),
                "lateness_s": _lateness_s(beat),
                "pid": beat.pid,
                "bodies": evidence.bodies.get(beat.workflow_id or "", 0),
                "came": came[number],
            }


def _lateness_s(beat: Beat) -> float:
    return round((beat.actual - beat.scheduled).total_seconds(), 3)


def _came(evidence: HeartbeatEvidence, beat: Beat, enqueued: Mapping[str, datetime]) -> str:
    """Say how a tick came to run: in time, in a process that recovered it, or made up for."""

    def restarted(after: datetime, until: datetime) -> bool:
        return any(after < start <= until for start in evidence.starts)

    fired = enqueued.get(beat.workflow_id or "", beat.actual)
    period = timedelta(seconds=evidence.every_s)
    late = fired >= beat.scheduled + period or restarted(beat.scheduled, fired)
    if evidence.backfill and late:
        return "made up"
    return "recovered" if restarted(fired, beat.actual) else "in time"
