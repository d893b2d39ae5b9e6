"""Runs without a fault: what they have in common is what others are compared with. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise
from typing import Any
from uuid import UUID

from aexp.crash.judge.evidence import Evidence, StepRecord, StreamEntry
from aexp.crash.judge.identity import (
    GET_RESULT,
    Place,
    ReadPlace,
    StepPlace,
    answers_by_place,
    arguments_by_place,
    bodies_by_place,
    inputs_by_place,
    place_workflows,
    step_paths,
    steps_by_place,
)
from aexp.crash.judge.spans import Written, writers, writers_of
from aexp.crash.judge.values import Path, StoredValue, Unsteady, differences, find_unsteady

__all__ = ["FaultFreeRuns", "ReplayedRun", "RunOutcome", "only_hands_on"]


@dataclass(frozen=True)
class RunOutcome:
    """What a run ended with: its status, and of its result or error what must be the same in every
    run (``Scenario.comparable``).
    """

    status: str
    value: Any

    def differences(self, other: RunOutcome) -> frozenset[Path]:
        """Return the paths at which two outcomes of one status differ."""
        return differences(self.value, other.value)


@dataclass(frozen=True)
class ReplayedRun:
    """What the first run without a fault came to when it ran again from its own checkpoints.

    ``ended`` says that it came to its end; what its workflow published is as it is made again.
    ``standstill`` is why nothing of it could move any more.
    """

    ended: bool
    outcome: RunOutcome
    events: Mapping[str, StoredValue]
    standstill: str | None = None
    entries: Sequence[StreamEntry] = ()


@dataclass(frozen=True)
class FaultFreeRuns:
    """Runs without a fault, at least one; what differs among them is unsteady.

    ``replayed`` is None where that was not tried.
    """

    runs: Sequence[Evidence]
    outcomes: Sequence[RunOutcome]
    replayed: ReplayedRun | None = None

    @property
    def first(self) -> Evidence:
        """The one that stands for all where they agree."""
        return self.runs[0]

    @property
    def outcome(self) -> RunOutcome:
        """What the first one ended with."""
        return self.outcomes[0]

    @cached_property
    def unsteady_result(self) -> Unsteady:
        """The parts of the result that no two runs need share."""
        return find_unsteady(
            one.differences(other)
            for one, other in combinations(self.outcomes, 2)
            if one.status == other.status
        )

    @cached_property
    def places(self) -> Sequence[Mapping[str, Place]]:
        """The places of the workflows of each run."""
        return [place_workflows(run) for run in self.runs]

    @cached_property
    def steps(self) -> Sequence[Mapping[StepPlace, StepRecord]]:
        """The checkpoints of each run by their places."""
        return [steps_by_place(*pair) for pair in zip(self.runs, self.places, strict=True)]

    @cached_property
    def unsteady_steps(self) -> Mapping[StepPlace, Unsteady]:
        """What is unsteady of each step's outcome, of steps that more than one run has."""
        found: dict[StepPlace, Unsteady] = {}
        for place in {place for steps in self.steps for place in steps}:
            if all(
                only_hands_on(steps[place], run)
                for steps, run in zip(self.steps, self.runs, strict=True)
                if place in steps
            ):
                continue
            known = [steps[place].outcome for steps in self.steps if place in steps]
            unsteady = find_unsteady(
                one.differences(other) for one, other in combinations(known, 2)
            )
            if unsteady.paths:
                found[place] = unsteady
        return found

    @cached_property
    def answers(self) -> Sequence[Mapping[ReadPlace, Sequence[StoredValue]]]:
        """What the workflows of each run read by DBOS."""
        return [answers_by_place(*pair) for pair in zip(self.runs, self.places, strict=True)]

    @cached_property
    def paths(self) -> Sequence[Mapping[Place, Sequence[str]]]:
        """The steps that each workflow of each run took."""
        return [step_paths(list(steps)) for steps in self.steps]

    @cached_property
    def written(self) -> Sequence[Written]:
        """The bodies that wrote to tables in each run."""
        return [writers(run) for run in self.runs]

    def bodies_that_write(self, table: str) -> Mapping[StepPlace, int]:
        """Return how many bodies of each step may write to ``table``, at most."""
        found: Counter[StepPlace] = Counter()
        for run, places, written in zip(self.runs, self.places, self.written, strict=True):
            found |= Counter(bodies_by_place(run, places, writers_of(written, table)))
        return found

    @cached_property
    def inputs(self) -> Sequence[Mapping[Place, Sequence[str | None]]]:
        """The digests of what the workflows of each run were given."""
        return [inputs_by_place(*pair) for pair in zip(self.runs, self.places, strict=True)]

    def may_tell_time(self, step: StepPlace) -> bool:
        """Return whether what ``step`` returns may say how late it is: anything but a text."""
        known = (steps[step].outcome for steps in self.steps if step in steps)
        return not all(isinstance(outcome.load(), str | bytes | UUID) for outcome in known)

    @property
    def paths_vary(self) -> bool:
        """Whether workflows take other steps in one run than in another."""
        return any(one != other for one, other in pairwise(self.paths))

    @cached_property
    def arguments(self) -> Sequence[Mapping[StepPlace, frozenset[str]]]:
        """The digests of what the steps of each run were asked with."""
        return [
            arguments_by_place(run, places)
            for run, places in zip(self.runs, self.places, strict=True)
        ]

    def unsteady_between(self, values: Iterable[StoredValue | None]) -> Unsteady | None:
        """Return what is unsteady of a value that each run has; None when one of them has none."""
        known = list(values)
        given = [value for value in known if value is not None]
        if len(given) < len(known):
            return None
        return find_unsteady(one.differences(other) for one, other in combinations(given, 2))


def only_hands_on(step: StepRecord, run: Evidence) -> bool:
    """Return whether ``step`` returned what a workflow of the run did that came to a good end: what
    that depends on are its own steps.
    """
    return step.name == GET_RESULT and any(
        row.workflow_id == step.child_id and row.status == "SUCCESS" for row in run.workflows
    )
