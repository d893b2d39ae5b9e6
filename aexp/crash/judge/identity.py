"""Find the same workflow and the same step in two experiments, whatever their ids. Pure.

The id of a run is its own in each experiment, that of a child may come from a step, which makes
another each time. A workflow is therefore known by its place: the root, or the step of its parent
that started it. A workflow that polls waits as often as time has it, in each run: what it waits for
and reads by DBOS itself is no step of its path, and not counted.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from aexp.crash.judge.evidence import Evidence, StepRecord, WorkflowRecord
from aexp.crash.judge.spans import BodySpan
from aexp.crash.judge.values import StoredValue
from aexp.engine.recorder.records import StepCall

__all__ = [
    "GET_RESULT",
    "Place",
    "ReadPlace",
    "StepPlace",
    "answers_by_place",
    "arguments_by_place",
    "bodies_by_place",
    "inputs_by_place",
    "is_awaited",
    "is_placed_by_chance",
    "is_tick",
    "number_steps",
    "place_workflows",
    "step_paths",
    "steps_by_place",
]

# A workflow's place: "~" for the root, "~:3" for what its third step started.
Place = str
# What a workflow reads by DBOS: the workflow's place, and the name of the read.
ReadPlace: TypeAlias = tuple[Place, str]
# As DBOS 3.4 names them in dbos.operation_outputs.
_READS = frozenset(
    {
        "DBOS.getEvent", "DBOS.getSchedule", "DBOS.getStatus", "DBOS.get_events",
        "DBOS.listQueuedWorkflows", "DBOS.listSchedules", "DBOS.listWorkflowSteps",
        "DBOS.listWorkflows", "DBOS.readStream", "DBOS.readStreamOffset", "DBOS.recv",
    }
)  # fmt: skip
# What hands on the result of another workflow.
GET_RESULT = "DBOS.getResult"
# By what a workflow may know how others stand, whose results it does not ask for.
_LOOKS = frozenset({"DBOS.getStatus", "DBOS.listQueuedWorkflows", "DBOS.listWorkflows"})
_OFF_PATH = _READS | {"DBOS.sleep"}
_ROOT = "~"
# As DBOS names what a schedule starts (3.4, _scheduler.py).
_TICK = re.compile(r"sched-.+-\d{4}-\d\d-\d\dT\d\d:\d\d.*")


@dataclass(frozen=True, slots=True, order=True)
class StepPlace:
    """The ``number``-th step of the workflow at ``place``, beside what that reads; a read has the
    number 0.
    """

    place: Place
    number: int
    name: str


def is_placed_by_chance(place: Place) -> bool:
    """Return whether no step is known to have started the workflow at ``place``, which another one
    may have in another run.
    """
    return not place.startswith(_ROOT)


def is_tick(workflow: WorkflowRecord) -> bool:
    """Return whether a schedule started it: no two runs are of the same time."""
    return _TICK.fullmatch(workflow.workflow_id) is not None


def is_awaited(workflow_id: str, evidence: Evidence) -> bool:
    """Return whether a workflow of the run has asked what became of that one, or may have."""
    return any(
        step.name in _LOOKS or (step.name == GET_RESULT and step.child_id == workflow_id)
        for step in evidence.steps
    )


def number_steps(evidence: Evidence) -> Mapping[tuple[str, int], int]:
    """Return the numbers of the steps on the paths of their workflows, by workflow and step id."""
    counts: Counter[str] = Counter()
    numbers = {}
    for step in sorted(evidence.steps, key=lambda step: step.step_id):
        if step.name not in _OFF_PATH:
            counts[step.workflow_id] += 1
            numbers[step.workflow_id, step.step_id] = counts[step.workflow_id]
    return numbers


def place_workflows(evidence: Evidence) -> Mapping[str, Place]:
    """Return the place of every workflow by its id.

    One that no step of a workflow is known to have started is placed by its name, and numbered
    among its like in the order of the evidence.
    """
    # What asks for a result names the workflow, too, and may do so in any order.
    by_asking = (step for step in evidence.steps if step.name == GET_RESULT)
    by_starting = (step for step in evidence.steps if step.name != GET_RESULT)
    started_by = {
        step.child_id: step for step in (*by_asking, *by_starting) if step.child_id is not None
    }
    numbers = number_steps(evidence)
    places: dict[str, Place] = {evidence.run_id: _ROOT}

    def place(workflow_id: str) -> Place | None:
        if workflow_id in places:
            return places[workflow_id]
        step = started_by.pop(workflow_id, None)
        if step is None:
            return None
        parent = place(step.workflow_id)
        if parent is not None:
            number = numbers.get((step.workflow_id, step.step_id), step.step_id)
            places[workflow_id] = f"{parent}:{number}"
        return places.get(workflow_id)

    alike: Counter[str] = Counter()
    for workflow in evidence.workflows:
        if place(workflow.workflow_id) is None:
            alike[workflow.name] += 1
            places[workflow.workflow_id] = f"{workflow.name}#{alike[workflow.name]}"
    return places


def steps_by_place(evidence: Evidence, places: Mapping[str, Place]) -> dict[StepPlace, StepRecord]:
    """Return the checkpoints on the paths of all workflows that have a place."""
    numbers = number_steps(evidence)
    return {
        StepPlace(places[step.workflow_id], number, step.name): step
        for step in evidence.steps
        if step.workflow_id in places
        and (number := numbers.get((step.workflow_id, step.step_id))) is not None
    }


def answers_by_place(
    evidence: Evidence, places: Mapping[str, Place]
) -> Mapping[ReadPlace, Sequence[StoredValue]]:
    """Return what each workflow was answered when it read by DBOS, in order."""
    answers: defaultdict[ReadPlace, list[StoredValue]] = defaultdict(list)
    for step in sorted(evidence.steps, key=lambda step: step.step_id):
        if step.workflow_id in places and step.name in _READS:
            answers[places[step.workflow_id], step.name].append(step.outcome)
    return answers


def step_paths(steps: Sequence[StepPlace]) -> Mapping[Place, Sequence[str]]:
    """Return, by place, the names of the steps of a workflow, in order."""
    paths: defaultdict[Place, list[str]] = defaultdict(list)
    for step in sorted(steps):
        paths[step.place].append(step.name)
    return paths


def arguments_by_place(
    run: Evidence, places: Mapping[str, Place]
) -> Mapping[StepPlace, frozenset[str]]:
    """Return the digests of what each step was asked with."""
    numbers = number_steps(run)
    digests: defaultdict[StepPlace, set[str]] = defaultdict(set)
    for recorded in run.records:
        call = recorded.record
        if not isinstance(call, StepCall) or call.step_id is None:
            continue
        number = numbers.get((call.workflow_id, call.step_id))
        if number is not None and call.workflow_id in places:
            digests[StepPlace(places[call.workflow_id], number, call.name)].add(call.digest)
    return {step: frozenset(found) for step, found in digests.items()}


def inputs_by_place(
    run: Evidence, places: Mapping[str, Place]
) -> Mapping[Place, Sequence[str | None]]:
    """Return the digests of what each workflow was given."""
    found: defaultdict[Place, list[str | None]] = defaultdict(list)
    for row in run.workflows:
        found[places[row.workflow_id]].append(row.inputs_digest)
    return found


def bodies_by_place(
    run: Evidence,
    places: Mapping[str, Place],
    bodies: Mapping[tuple[str, int], Sequence[BodySpan]],
) -> Mapping[StepPlace, int]:
    """Return how many ``bodies`` there are of each step on the paths of all workflows."""
    numbers = number_steps(run)
    return {
        StepPlace(places[workflow_id], numbers[workflow_id, step_id], known[0].name): len(known)
        for (workflow_id, step_id), known in bodies.items()
        if workflow_id in places and (workflow_id, step_id) in numbers
    }
