"""Did an effect that must happen once happen twice? Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.evidence import Recorded
from aexp.engine.recorder.records import DeclaredEffect, StepBegan
from aexp.model.promise import SAMPLE, Anomaly

__all__ = ["effects_once", "steps_once"]


def effects_once(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
    """Check that each effect that is declared, and not as idempotent, happened once for its key.

    None where none is declared.
    """
    declared: defaultdict[tuple[str, str], list[tuple[Recorded, DeclaredEffect]]] = defaultdict(
        list
    )
    for recorded in comparison.found.records:
        if isinstance(effect := recorded.record, DeclaredEffect):
            declared[effect.name, effect.key].append((recorded, effect))
    if not declared:
        return None
    return [
        Anomaly(
            f"effect `{name}` happened {len(found)} times for key {key!r}",
            [_row(recorded, site=effect.site) for recorded, effect in found[:SAMPLE]],
            kind="effect_repeated",
            cause=f"{name} {found[0][1].site}",
            where=found[0][1].site,
        )
        for (name, key), found in declared.items()
        if len(found) > 1 and not all(effect.idempotent for _, effect in found)
    ]


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
