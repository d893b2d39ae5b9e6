"""What an experiment left behind beside runs without a fault, as far as these agree. Pure.

A workflow is a function of its input and of what its steps returned. Two runs are therefore the
same only where their steps returned the same; what differs among runs without a fault is *unsteady*
and is compared with nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

from aexp.crash.judge.evidence import Evidence, StepRecord
from aexp.crash.judge.identity import (
    Place,
    StepPlace,
    place_workflows,
    step_paths,
    steps_by_place,
)
from aexp.crash.judge.values import Path, StoredValue, Unsteady, differences, find_unsteady

__all__ = ["BaselineComparison", "FaultFreeRuns", "ReplayedRun", "RunOutcome"]


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
            known = [steps[place].outcome for steps in self.steps if place in steps]
            unsteady = find_unsteady(
                one.differences(other) for one, other in combinations(known, 2)
            )
            if unsteady.paths:
                found[place] = unsteady
        return found

    @cached_property
    def paths(self) -> Sequence[Mapping[Place, Sequence[tuple[int, str]]]]:
        """The steps that each workflow of each run took."""
        return [step_paths(list(steps)) for steps in self.steps]

    def unsteady_between(self, values: Iterable[StoredValue | None]) -> Unsteady | None:
        """Return what is unsteady of a value that each run has; None when one of them has none."""
        known = list(values)
        given = [value for value in known if value is not None]
        if len(given) < len(known):
            return None
        return find_unsteady(one.differences(other) for one, other in combinations(given, 2))


@dataclass(frozen=True)
class BaselineComparison:
    """An experiment beside runs without a fault.

    ``doubted`` are the transactional steps whose commit a living process did not hear of: workflow,
    step, pid. ``once`` are the names of steps that must not run twice.
    """

    baseline: FaultFreeRuns
    found: Evidence
    outcome: RunOutcome
    doubted: frozenset[tuple[str, int, int]] = frozenset()
    once: frozenset[str] = frozenset()

    @cached_property
    def places(self) -> Mapping[str, Place]:
        """The places of the workflows that were found."""
        return place_workflows(self.found)

    @cached_property
    def steps(self) -> Mapping[StepPlace, StepRecord]:
        """The checkpoints that were found by their places."""
        return steps_by_place(self.found, self.places)

    @cached_property
    def same_path(self) -> bool:
        """Whether every workflow took the steps that it took in a run without a fault."""
        paths = step_paths(list(self.steps))
        return any(paths == known for known in self.baseline.paths)

    @cached_property
    def changed_steps(self) -> Sequence[StepPlace]:
        """The steps that returned what they returned in no run without a fault, beyond what is
        unsteady of them, the earliest first.
        """
        changed = []
        for place, step in self.steps.items():
            known = [steps[place] for steps in self.baseline.steps if place in steps]
            unsteady = self.baseline.unsteady_steps.get(place, Unsteady())
            if known and all(
                one.failed != step.failed or unsteady.beyond(one.outcome.differences(step.outcome))
                for one in known
            ):
                changed.append(place)
        return sorted(changed, key=lambda place: (place.place != "~", place))

    @property
    def cause_of_change(self) -> StepPlace | None:
        """The step on which the outcome may depend: one that returned something else, or one that
        does so without any fault; None when all returned the same.
        """
        if self.changed_steps:
            return self.changed_steps[0]
        return min(self.baseline.unsteady_steps, default=None)
