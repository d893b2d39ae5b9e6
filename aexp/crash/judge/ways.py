"""Does each workflow take the way that it takes without a fault? Pure.

Which steps a body calls follows from its input and from what its steps returned. Where these are
the same, one that calls other steps has gone by what the killed process had in its memory.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.evidence import Evidence
from aexp.crash.judge.identity import GET_RESULT, Place, is_placed_by_chance
from aexp.crash.judge.values import StoredValue
from aexp.crash.judge.wording import often
from aexp.engine.recorder.records import StepCall
from aexp.engine.tables.names import WORKFLOW_STATUS
from aexp.model.promise import SAMPLE, Anomaly

__all__ = ["same_way"]

_SUCCESS = f"update {WORKFLOW_STATUS} SUCCESS"


@dataclass(frozen=True, slots=True)
class _Way:
    """What a workflow that succeeded called in the process in which it did: its whole body ran
    there. ``steps`` are the names of the steps in their order, ``sites`` the lines that call them,
    ``children`` the names under which it started workflows.
    """

    steps: Sequence[str]
    sites: Mapping[str, str | None]
    children: Counter[str]


def same_way(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
    """Check that each workflow that succeeds calls the steps, and starts the children, that it does
    in every run without a fault, unless something gives it a reason to do otherwise.
    """
    baseline = comparison.baseline
    if comparison.reasons or comparison.cut_short:
        return None
    known = [_ways(run, places) for run, places in zip(baseline.runs, baseline.places, strict=True)]
    found = _ways(comparison.found, comparison.places)
    if not found or not all(known):
        return None
    anomalies = []
    for place, way in found.items():
        usual = [run[place] for run in known if place in run]
        if len(usual) < len(known) or is_placed_by_chance(place):
            continue
        if not comparison.started_alike(place):
            continue
        first, *others = usual
        if any(_counted(other) != _counted(first) for other in others):
            continue
        if not _has_reason(comparison, place, way, first):
            anomalies += _other_way(comparison, place, way, first)
    return anomalies[:SAMPLE]


def _ways(run: Evidence, places: Mapping[str, Place]) -> Mapping[Place, _Way]:
    life_of = {
        seen.write.workflow_id: seen.life
        for seen in run.writes
        if seen.write.name.startswith(_SUCCESS)
    }
    calls: defaultdict[str, dict[int, StepCall]] = defaultdict(dict)
    for recorded in run.records:
        call = recorded.record
        if (
            isinstance(call, StepCall)
            and call.step_id is not None
            and life_of.get(call.workflow_id) == recorded.life
        ):
            calls[call.workflow_id][call.step_id] = call
    children: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for step in run.steps:
        if step.child_id is not None and step.name != GET_RESULT:
            children[step.workflow_id][step.name] += 1
    ways = {}
    for row in run.workflows:
        if row.status != "SUCCESS" or row.workflow_id not in life_of:
            continue
        in_order = [call for _, call in sorted(calls[row.workflow_id].items())]
        ways[places[row.workflow_id]] = _Way(
            [call.name for call in in_order],
            {call.name: call.site for call in in_order},
            children[row.workflow_id],
        )
    return ways


def _counted(way: _Way) -> tuple[Counter[str], Counter[str]]:
    return Counter(way.steps), way.children


def _has_reason(comparison: BaselineComparison, place: Place, way: _Way, usual: _Way) -> bool:
    """Return whether the workflow may have taken another way because of what it read, or because of
    a step that returns something else in each run, before the ways part.
    """
    baseline = comparison.baseline
    all_steps = (comparison.steps, *baseline.steps)
    if any(step.failed for steps in all_steps for at, step in steps.items() if at.place == place):
        # Whoever ran beside it may have come further, or not as far.
        return True
    read, *usual_reads = (
        {name: answers for (at, name), answers in run.items() if at == place}
        for run in (comparison.answers, *baseline.answers)
    )
    if any(_differ(one, other) for one, other in pairwise([*usual_reads, read])):
        return True
    together = takewhile(lambda pair: pair[0] == pair[1], zip(way.steps, usual.steps, strict=False))
    before = {name for name, _ in together}
    return any(
        step.name in before if step.place == place else step.place.startswith(f"{place}:")
        for step in baseline.unsteady_steps
    )


def _differ(
    one: Mapping[str, Sequence[StoredValue]], other: Mapping[str, Sequence[StoredValue]]
) -> bool:
    """Return whether something else was read, or more or less often."""
    return one.keys() != other.keys() or any(
        len(answers) != len(other[name])
        or any(mine.differences(its) for mine, its in zip(answers, other[name], strict=True))
        for name, answers in one.items()
    )


def _other_way(
    comparison: BaselineComparison, place: Place, way: _Way, usual: _Way
) -> list[Anomaly]:
    names = {comparison.places[row.workflow_id]: row.name for row in comparison.found.workflows}
    workflow = names[place]
    why = "though all that its steps returned is the same"
    if comparison.changed_steps:
        step = comparison.changed_steps[0].name
        why = f"since step `{step}` found what its own first run had left"
    anomalies = []
    for what, ours, theirs in (
        ("step", Counter(way.steps), Counter(usual.steps)),
        ("child", way.children, usual.children),
    ):
        for name in sorted(ours.keys() | theirs.keys()):
            if ours[name] == theirs[name]:
                continue
            does = "calls" if what == "step" else "starts"
            number = often(ours[name]) if ours[name] else "never"
            fewer = ours[name] < theirs[name]
            anomalies.append(
                Anomaly(
                    f"workflow `{workflow}` {does} {what} `{name}` {number}, and"
                    f" {often(theirs[name]) if theirs[name] else 'never'} without a fault, {why}",
                    [{"workflow": place, what: name, "times": ours[name], "usual": theirs[name]}],
                    kind="child_missing" if what == "child" and fewer else "other_way",
                    cause=f"{workflow} {name}",
                    where=usual.sites.get(name) or way.sites.get(name),
                )
            )
    return anomalies
