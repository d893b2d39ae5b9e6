"""Did an effect that must happen once happen twice, or never? Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.evidence import Evidence, Recorded
from aexp.crash.judge.identity import Place, is_placed_by_chance
from aexp.engine.recorder.records import DeclaredEffect, StepBegan
from aexp.model.promise import SAMPLE, Anomaly

__all__ = ["effects_once", "must_do_as_much", "steps_once"]


def effects_once(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
    """Check that each effect that is declared, and not as idempotent, happened once for its key, or
    as often as without a fault, where DBOS itself tries a step again; and that none is missing that
    every run without a fault has, unless a step that returned something else may be why.

    None where none is declared.
    """
    known = [_declared(run) for run in comparison.baseline.runs]
    declared = _declared(comparison.found)
    if not declared and not any(known):
        return None
    repeated = [
        Anomaly(
            f"effect `{name}` happened {len(found)} times for key {key!r}",
            [_row(recorded, site=effect.site) for recorded, effect in found[:SAMPLE]],
            kind="effect_repeated",
            cause=f"{name} {found[0][1].site}",
            where=found[0][1].site,
        )
        for (name, key), found in declared.items()
        if len(found) > max([1, *(len(run[name, key]) for run in known if (name, key) in run)])
        and not all(effect.idempotent for _, effect in found)
    ]
    if not must_do_as_much(comparison):
        return repeated
    counts = [_counts(run, places) for run, places in _placed(comparison)]
    *usual, found_now = counts
    missing = [
        Anomaly(
            f"effect `{name}` did not happen for key {key!r}, which it does without a fault",
            kind="effect_missing",
            cause=f"{name} {found[0][1].site}",
            where=found[0][1].site,
        )
        for (name, key), found in known[0].items()
        if (name, key) not in declared
        and all((name, key) in run for run in known)
        # Where a time stands in the key, another one may stand there now.
        and found_now[name] < min(run[name] for run in usual)
    ]
    return [*repeated, *missing[:SAMPLE]]


def _placed(comparison: BaselineComparison) -> list[tuple[Evidence, Mapping[str, Place]]]:
    baseline = comparison.baseline
    runs = zip(baseline.runs, baseline.places, strict=True)
    return [*runs, (comparison.found, comparison.places)]


def _counts(run: Evidence, places: Mapping[str, Place]) -> Counter[str]:
    """Count the effects by name, but for those of what a schedule has started."""
    return Counter(
        effect.name
        for recorded in run.records
        if isinstance(effect := recorded.record, DeclaredEffect)
        and not is_placed_by_chance(places.get(effect.workflow_id, ""))
    )


def _declared(run: Evidence) -> Mapping[tuple[str, str], list[tuple[Recorded, DeclaredEffect]]]:
    """Return the effects of a run, by name and key."""
    declared: defaultdict[tuple[str, str], list[tuple[Recorded, DeclaredEffect]]] = defaultdict(
        list
    )
    for recorded in run.records:
        if isinstance(effect := recorded.record, DeclaredEffect):
            declared[effect.name, effect.key].append((recorded, effect))
    return declared


def must_do_as_much(comparison: BaselineComparison) -> bool:
    """Return whether all that happens without a fault must happen: the run has come to its end, and
    nothing gives it a reason to do less.
    """
    return comparison.found.status == "SUCCESS" and not comparison.may_act_otherwise


def steps_once(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
    """Check that no step that must run ``once`` has begun twice for one workflow and number, unless
    DBOS itself tried it again in the same process; None where there is no such step.
    """
    once = comparison.once
    if not once:
        return None
    begun: defaultdict[tuple[str, int | None, str], list[Recorded]] = defaultdict(list)
    for recorded in comparison.found.records:
        record = recorded.record
        if isinstance(record, StepBegan) and record.name in once:
            begun[record.workflow_id, record.step_id, record.name].append(recorded)
    return [
        Anomaly(
            f"step `{name}`, which must run once, began in {len(lives)} processes",
            [_row(recorded) for recorded in bodies[:SAMPLE]],
            kind="effect_repeated",
            cause=f"once {name}",
        )
        for (_, _, name), bodies in begun.items()
        if len(lives := {recorded.life for recorded in bodies}) > 1
    ]


def _row(recorded: Recorded, **more: object) -> Mapping[str, Any]:
    record = recorded.record
    return {
        "workflow_id": record.workflow_id,
        "step_id": record.step_id,
        "process": recorded.life + 1,
        "pid": record.pid,
        **more,
    }
