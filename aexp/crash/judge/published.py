"""Do events and streams end as without a fault? Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.endings import describe_paths
from aexp.crash.judge.evidence import Evidence
from aexp.crash.judge.identity import Place
from aexp.crash.judge.values import StoredValue
from aexp.model.promise import SAMPLE, Anomaly

__all__ = ["event_values", "same_events", "same_streams"]

# Of a workflow by its place, and the key.
_Key: TypeAlias = tuple[Place, str]
# An entry's place in a stream: workflow, key, the step that wrote it, the how many-th of that step.
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
            if comparison.cause_of_change is not None:
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
    if comparison.cause_of_change is None:
        return False
    replayed = comparison.baseline.replayed
    if replayed is None or not replayed.ended or key[1] not in replayed.events or key[0] != "~":
        return True
    # Made again from the same outcomes of steps, it must be the same.
    known = event_values(comparison.baseline.first, comparison.baseline.places[0])
    return not replayed.events[key[1]].differences(known[key])


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
    for entry in sorted(known[0].keys() & found.keys()):
        unsteady = baseline.unsteady_between(entries.get(entry) for entries in known)
        if unsteady is None:
            continue
        differing = unsteady.beyond(found[entry].differences(known[0][entry]))
        if differing and comparison.cause_of_change is None:
            row = {"workflow": entry[0], "key": entry[1], "step_id": entry[2],
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
    numbers: defaultdict[tuple[Place, str, int], int] = defaultdict(int)
    entries = {}
    for entry in run.entries:
        if entry.workflow_id in places:
            of_step = (places[entry.workflow_id], entry.key, entry.step_id)
            numbers[of_step] += 1
            entries[(*of_step, numbers[of_step])] = entry.value
    return entries


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
        if count > expected and (expected or comparison.cause_of_change is None):
            row = {"workflow": step[0], "step_id": step[2], "entries": count, "expected": expected}
            anomalies.append(
                Anomaly(
                    f"stream {step[1]!r} has entries that it has not without a fault: step"
                    f" {step[2]} wrote {count}, not {expected}",
                    [row],
                    kind="stream_repeated",
                    cause=f"stream {step[1]}",
                )
            )
    if comparison.cause_of_change is None and comparison.same_path:
        missing = sorted(known[0].keys() - found.keys())
        if missing and all(entries.keys() == known[0].keys() for entries in known):
            rows = [
                {"workflow": e[0], "key": e[1], "step_id": e[2], "entry": e[3]} for e in missing
            ]
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
        if (place.place, place.step_id) == (step[0], step[2])
    }
    return len(names) > 1
