"""Find the same workflow and the same step in two experiments, whatever their ids. Pure.

The id of a run is its own in each experiment, that of a child may come from a step, which makes
another each time. A workflow is therefore known by its place: the root, or the step of its parent
that started it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aexp.crash.judge.evidence import Evidence, StepRecord, WorkflowRecord

__all__ = ["Place", "StepPlace", "is_tick", "place_workflows", "step_paths", "steps_by_place"]

# A workflow's place: "~" for the root, "~:3" for what its third step started.
Place = str
_ROOT = "~"
# As DBOS names what a schedule starts (3.4, _scheduler.py).
_TICK = re.compile(r"sched-.+-\d{4}-\d\d-\d\dT\d\d:\d\d.*")


@dataclass(frozen=True, slots=True, order=True)
class StepPlace:
    """A step of the workflow at ``place``."""

    place: Place
    step_id: int
    name: str


def is_tick(workflow: WorkflowRecord) -> bool:
    """Return whether a schedule started it: no two runs are of the same time."""
    return _TICK.fullmatch(workflow.workflow_id) is not None


def place_workflows(evidence: Evidence) -> Mapping[str, Place]:
    """Return the place of every workflow by its id.

    One that no step of a workflow is known to have started is placed by its name, and numbered
    among its like in the order of the evidence.
    """
    started_by = {step.child_id: step for step in evidence.steps if step.child_id is not None}
    places: dict[str, Place] = {evidence.run_id: _ROOT}

    def place(workflow_id: str) -> Place | None:
        if workflow_id in places:
            return places[workflow_id]
        step = started_by.pop(workflow_id, None)
        if step is None:
            return None
        parent = place(step.workflow_id)
        if parent is not None:
            places[workflow_id] = f"{parent}:{step.step_id}"
        return places.get(workflow_id)

    numbers: Counter[str] = Counter()
    for workflow in evidence.workflows:
        if place(workflow.workflow_id) is None:
            numbers[workflow.name] += 1
            places[workflow.workflow_id] = f"{workflow.name}#{numbers[workflow.name]}"
    return places


def steps_by_place(evidence: Evidence, places: Mapping[str, Place]) -> dict[StepPlace, StepRecord]:
    """Return the checkpoints of all workflows that have a place."""
    return {
        StepPlace(places[step.workflow_id], step.step_id, step.name): step
        for step in evidence.steps
        if step.workflow_id in places
    }


def step_paths(steps: Sequence[StepPlace]) -> Mapping[Place, Sequence[tuple[int, str]]]:
    """Return, by place, the numbers and names of the steps of a workflow, in order."""
    paths: defaultdict[Place, list[tuple[int, str]]] = defaultdict(list)
    for step in sorted(steps):
        paths[step.place].append((step.step_id, step.name))
    return paths
