"""Do events and streams end as without a fault? Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.endings import describe_paths
from aexp.crash.judge.evidence import Evidence, StreamEntry
from aexp.crash.judge.identity import Place, number_steps
from aexp.crash.judge.values import StoredValue
from aexp.model.promise import SAMPLE, Anomaly

__all__ = ["event_values", "same_events", "same_streams"]

# Of a workflow by its place, and the key.
_Key: TypeAlias = tuple[Place, str]
# An entry's place in a stream: workflow, key, the number of the step that wrote it, the how many-th
# of that step.
_Entry: TypeAlias = tuple[Place, str, int, int]


def event_values(run: Evidence, places: Mapping[str, Place]) -> Mapping[_Key, StoredValue]:
    """Return the events of a run by the places of their workflows."""
    return {
        (places[event.workflow_id], event.key): event.value
        for event in run.events
        if event.workflow_id in places
    }


def same_events(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
    """Check that each event ends with the steady part of its value without a fault.

    Where a step of the workflow returned something else, events may differ.
    """
    baseline = comparison.baseline
    known = [
        event_values(run, places)
        for run, places in zip(baseline.runs, baseline.places, strict=True)
    ]
    found = event_values(comparison.found, comparison.places)
    if not known[0] and not found:
        return None
    anomalies = []
    for key in sorted(known[0].keys() | found.keys()):
        unsteady = baseline.unsteady_between(events.get(key) for events in known)
        expected, value = known[0].get(key), found.get(key)
        if unsteady is None and expected is not None:
            continue  # It is not set in every run without a fault either.
        if expected is None or value is None:
            if any(key in events for events in known) and value is not None:
                continue
            if _may_be_there_or_not(comparison, key, expected):
                continue
            what = "is not set" if value is None else "is set, which it is not without a fault"
            anomalies.append(_event(f"event {key[1]!r} {what}", key, value, expected))
            continue
        assert unsteady is not None
        differing = unsteady.beyond(value.differences(expected))
        if differing and not _depends_on_steps(comparison, key):
            where = describe_paths(differing)
            what = f"event {key[1]!r} differs from that of the run without a fault{where}"
            anomalies.append(_event(what, key, value, expected))
    return anomalies[:SAMPLE]


def _depends_on_steps(comparison: BaselineComparison, key: _Key) -> bool:
    """Return whether the event may differ because a step returned something else."""
    replayed = comparison.baseline.replayed
    known = event_values(comparison.baseline.first, comparison.baseline.places[0])
    again = replayed.events.get(key[1]) if replayed is not None else None
    return _may_differ(comparison, key[0], known[key], again)


def _may_be_there_or_not(
    comparison: BaselineComparison, key: _Key, expected: StoredValue | None
) -> bool:
    """Return whether the event may be set or not because a step returned something else."""
    replayed = comparison.baseline.replayed
    of_root = key[0] == "~" and expected is not None
    if of_root and replayed is not None and replayed.ended and key[1] not in replayed.events:
        return False  # From the same outcomes of steps it was not set again.
    return comparison.cause_of_result is not None and comparison.may_act_otherwise


def _may_differ(
    comparison: BaselineComparison, place: Place, known: StoredValue, again: StoredValue | None
) -> bool:
    """Return whether a value may differ because a step returned something else.

    One that the body of the root makes ``again`` when it is replayed, from the same outcomes of
    steps, must be the ``known`` one.
    """
    if comparison.cause_of_change_at(place) is None:
        return False
    replayed = comparison.baseline.replayed
    if replayed is None or not replayed.ended or place != "~":
        return True
    if again is None:
        return comparison.may_act_otherwise
    return not again.differences(known)


def _event(
    what: str, key: _Key, value: StoredValue | None, expected: StoredValue | None
) -> Anomaly:
    row = {"workflow": key[0], "key": key[1], "value": str(value), "expected": str(expected)}
    return Anomaly(what, [row], kind="event_differs", cause=f"event {key[1]}")


def same_streams(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
    """Check that each step has written as many entries as without a fault, with the steady part of
    their values.
    """
    baseline = comparison.baseline
    known = [
        _entries(run, places) for run, places in zip(baseline.runs, baseline.places, strict=True)
    ]
    found = _entries(comparison.found, comparison.places)
    if not known[0] and not found:
        return None
    anomalies = [*_counts(comparison, known, found)]
    again = _made_again(comparison)
    for entry in sorted(known[0].keys() & found.keys()):
        unsteady = baseline.unsteady_between(entries.get(entry) for entries in known)
        if unsteady is None:
            continue
        differing = unsteady.beyond(found[entry].differences(known[0][entry]))
        may_differ = _may_differ(comparison, entry[0], known[0][entry], again.get(entry))
        if differing and not may_differ:
            row = {"workflow": entry[0], "key": entry[1], "step": entry[2],
                   "value": str(found[entry]), "expected": str(known[0][entry])}  # fmt: skip
            where = describe_paths(differing)
            anomalies.append(
                Anomaly(
                    f"an entry of stream {entry[1]!r} differs from that of the run without a"
                    f" fault{where}",
                    [row],
                    kind="stream_differs",
                    cause=f"stream {entry[1]}",
                )
            )
    return anomalies[:SAMPLE]


def _entries(run: Evidence, places: Mapping[str, Place]) -> Mapping[_Entry, StoredValue]:
    return _numbered(run.entries, places, number_steps(run))


def _numbered(
    given: Sequence[StreamEntry],
    places: Mapping[str, Place],
    numbers: Mapping[tuple[str, int], int],
) -> Mapping[_Entry, StoredValue]:
    counts: Counter[tuple[Place, str, int]] = Counter()
    entries = {}
    for entry in given:
        if entry.workflow_id in places:
            number = numbers.get((entry.workflow_id, entry.step_id), entry.step_id)
            of_step = (places[entry.workflow_id], entry.key, number)
            counts[of_step] += 1
            entries[(*of_step, counts[of_step])] = entry.value
    return entries


def _made_again(comparison: BaselineComparison) -> Mapping[_Entry, StoredValue]:
    """Return the entries of the root of the first run without a fault as its replay left them."""
    baseline = comparison.baseline
    if baseline.replayed is None:
        return {}
    return _numbered(baseline.replayed.entries, baseline.places[0], number_steps(baseline.first))


def _counts(
    comparison: BaselineComparison,
    known: Sequence[Mapping[_Entry, StoredValue]],
    found: Mapping[_Entry, StoredValue],
) -> list[Anomaly]:
    """Compare how many entries each step has written, where the same step wrote there in every run
    without a fault.
    """
    usual = [_per_step(entries) for entries in known]
    anomalies = []
    for step, count in sorted(_per_step(found).items()):
        counts = {each.get(step, 0) for each in usual}
        if len(counts) > 1 or _other_step(comparison, step):
            continue
        (expected,) = counts
        if count > expected and (expected or comparison.cause_of_effects is None):
            row = {"workflow": step[0], "step": step[2], "entries": count, "expected": expected}
            anomalies.append(
                Anomaly(
                    f"stream {step[1]!r} has entries that it has not without a fault: one step"
                    f" wrote {count}, not {expected}",
                    [row],
                    kind="stream_repeated",
                    cause=f"stream {step[1]}",
                )
            )
    if not comparison.may_act_otherwise:
        missing = sorted(known[0].keys() - found.keys())
        if missing and all(entries.keys() == known[0].keys() for entries in known):
            rows = [{"workflow": e[0], "key": e[1], "step": e[2], "entry": e[3]} for e in missing]
            anomalies.append(
                Anomaly(
                    f"stream {missing[0][1]!r} lacks entries that it has without a fault",
                    rows[:SAMPLE],
                    kind="stream_differs",
                    cause=f"stream {missing[0][1]}",
                )
            )
    return anomalies


def _per_step(entries: Mapping[_Entry, StoredValue]) -> Mapping[tuple[Place, str, int], int]:
    counts: defaultdict[tuple[Place, str, int], int] = defaultdict(int)
    for place, key, step_id, _ in entries:
        counts[place, key, step_id] += 1
    return counts


def _other_step(comparison: BaselineComparison, step: tuple[Place, str, int]) -> bool:
    """Return whether another step than without a fault has this number."""
    names = {
        place.name
        for steps in (*comparison.baseline.steps, comparison.steps)
        for place in steps
        if (place.place, place.number) == (step[0], step[2])
    }
    return len(names) > 1
