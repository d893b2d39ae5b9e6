"""What an experiment left behind beside runs without a fault, as far as these agree. Pure.

A workflow is a function of its input and of what its steps returned. Two runs are therefore the
same only where their steps returned the same; what differs among runs without a fault is *unsteady*
and is compared with nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, pairwise
from typing import Any

from aexp.crash.judge.evidence import Evidence, StepRecord, StreamEntry
from aexp.crash.judge.identity import (
    GET_RESULT,
    Place,
    ReadPlace,
    StepPlace,
    answers_by_place,
    arguments_by_place,
    is_tick,
    number_steps,
    place_workflows,
    step_paths,
    steps_by_place,
)
from aexp.crash.judge.spans import changed_own_world, is_written, writers
from aexp.crash.judge.values import Path, StoredValue, Unsteady, differences, find_unsteady
from aexp.engine.statuses import UNFINISHED

__all__ = ["BaselineComparison", "FaultFreeRuns", "ReplayedRun", "RunOutcome"]


_CUT_SHORT = frozenset({*UNFINISHED, "CANCELLED"})


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
                _only_hands_on(steps[place], run)
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
    def answers(self) -> Mapping[ReadPlace, Sequence[StoredValue]]:
        """What the workflows that were found read by DBOS."""
        return answers_by_place(self.found, self.places)

    @cached_property
    def same_path(self) -> bool:
        """Whether every workflow took the steps that it took in a run without a fault, as far as
        there is one there. What a schedule has started once more changes that.
        """
        paths = step_paths(list(self.steps))
        ticks = {self.places[row.workflow_id] for row in self.found.workflows if is_tick(row)}
        return any(
            known == {place: path for place, path in paths.items() if place in {*known, *ticks}}
            for known in self.baseline.paths
        )

    @cached_property
    def changed_steps(self) -> Sequence[StepPlace]:
        """The steps that returned what they returned in no run without a fault, beyond what is
        unsteady of them, the earliest first; then what was read by DBOS and is otherwise.
        """
        changed = []
        for place, step in self.steps.items():
            if _only_hands_on(step, self.found):
                continue
            known = [steps[place] for steps in self.baseline.steps if place in steps]
            unsteady = self.baseline.unsteady_steps.get(place, Unsteady())
            if known and all(
                one.failed != step.failed or unsteady.beyond(one.outcome.differences(step.outcome))
                for one in known
            ):
                changed.append(place)
        reads = [
            StepPlace(place, 0, name)
            for (place, name), found in self.answers.items()
            if _answered_otherwise(
                found, [run[place, name] for run in self.baseline.answers if (place, name) in run]
            )
        ]
        return [
            *sorted(changed, key=lambda step: (step.place != "~", step)),
            *sorted(reads),
        ]

    @cached_property
    def reasons(self) -> Sequence[StepPlace]:
        """The changed steps that are a reason for something else to differ: not those that returned
        something else because an earlier body of theirs had changed what they found.
        """
        own = {
            StepPlace(self.places[workflow_id], number, "")
            for workflow_id, step_id in changed_own_world(self.found)
            if (number := number_steps(self.found).get((workflow_id, step_id))) is not None
            and workflow_id in self.places
        }
        return [step for step in self.changed_steps if replace(step, name="") not in own]

    @property
    def cause_of_change(self) -> StepPlace | None:
        """The step on which what the workflows' bodies made may depend: one that returned something
        else, or one that does so without any fault; None when all returned the same.
        """
        if self.reasons:
            return self.reasons[0]
        return min(self.baseline.unsteady_steps, default=None)

    def cause_of_change_at(self, place: Place) -> StepPlace | None:
        """Return the step on which what the body of the workflow at ``place`` made may depend: one
        of its own or of those that it started, or any where it was started with something else.
        """
        if not self.started_alike(place):
            return self.cause_of_change
        steps = [*self.reasons, *sorted(self.baseline.unsteady_steps)]
        return next(
            (step for step in steps if step.place == place or step.place.startswith(f"{place}:")),
            None,
        )

    def started_alike(self, place: Place) -> bool:
        """Return whether the workflow at ``place`` was given the same as without a fault, or what
        is another in each run: what depends on that is unsteady itself.
        """
        known = {
            row.inputs_digest
            for run, places in zip(self.baseline.runs, self.baseline.places, strict=True)
            for row in run.workflows
            if places[row.workflow_id] == place
        }
        given = {
            row.inputs_digest
            for row in self.found.workflows
            if self.places[row.workflow_id] == place
        }
        return None not in known | given and (len(known) > 1 or given <= known)

    @cached_property
    def cause_of_effects(self) -> StepPlace | None:
        """The step on which what other steps did may depend.

        One that returns something else in each run cannot be it unless that is to be seen: a step
        was asked with arguments that no run without a fault has.
        """
        if self.reasons or self._asked_otherwise:
            return self.cause_of_change
        return None

    def cause_of_rows(self, table: str) -> StepPlace | None:
        """Return the step on which the rows of ``table`` may depend: a reason; or one that returns
        something else in each run, if a step that writes there was asked with arguments that no run
        without a fault has, and that differ among these, too.
        """
        if self.reasons:
            return self.reasons[0]
        wrote = self._writers(table)
        if not wrote:
            # Bodies alone have, or it is unknown who has: by a function of the database, say.
            seen = any(is_written(run, table) for run in (self.found, *self.baseline.runs))
            return None if seen else self.cause_of_effects
        if not all(self.baseline.arguments):
            return self.cause_of_change  # Nobody noted them.
        if any(step in wrote and self._differs_anyhow(step) for step in self._otherwise):
            return self.cause_of_change
        return None

    def may_have_other_rows(self, table: str) -> bool:
        """Return whether ``table`` may end with more rows, or fewer, than without a fault, and be
        right.
        """
        if self._took_another_way:
            return True
        cause = self.cause_of_rows(table)
        # What one step alone writes, it writes whatever it returns.
        return cause is not None and self._writers(table) != {cause}

    @property
    def may_act_otherwise(self) -> bool:
        """Whether steps may have done something else than without a fault, and be right."""
        return self._took_another_way or self.cause_of_effects is not None

    @property
    def _took_another_way(self) -> bool:
        """Whether a workflow took another way, and had a reason to."""
        return not self.same_path and (self.cut_short or self.cause_of_change is not None)

    def _writers(self, table: str) -> set[StepPlace]:
        """Return the steps that may write to ``table``, in any run."""
        runs = [*zip(self.baseline.runs, self.baseline.places, strict=True)]
        return {
            StepPlace(places[workflow_id], number, bodies[0].name)
            for run, places in [*runs, (self.found, self.places)]
            for (workflow_id, step_id), bodies in writers(run, table).items()
            if workflow_id in places
            and (number := number_steps(run).get((workflow_id, step_id))) is not None
        }

    def _differs_anyhow(self, step: StepPlace) -> bool:
        """Return whether ``step`` is asked with something else in each run."""
        known = [run[step] for run in self.baseline.arguments if step in run]
        return len(known) > 1 and any(one.isdisjoint(other) for one, other in pairwise(known))

    @cached_property
    def cut_short(self) -> bool:
        """Whether a workflow was cancelled, or has not ended: at any of its steps."""
        runs = (*self.baseline.runs, self.found)
        return any(row.status in _CUT_SHORT for run in runs for row in run.workflows)

    @property
    def _asked_otherwise(self) -> bool:
        if not all(self.baseline.arguments) or not arguments_by_place(self.found, self.places):
            return True  # Nobody noted them.
        return bool(self._otherwise)

    @cached_property
    def _otherwise(self) -> Sequence[StepPlace]:
        """The steps that were asked with something that they are asked with in no run without a
        fault.
        """
        known = self.baseline.arguments
        return [
            step
            for step, digests in arguments_by_place(self.found, self.places).items()
            if any(step in run for run in known)
            and digests.isdisjoint(
                frozenset().union(*(run.get(step, frozenset()) for run in known))
            )
        ]


def _only_hands_on(step: StepRecord, run: Evidence) -> bool:
    """Return whether ``step`` returned what a workflow of the run did that came to a good end: what
    that depends on are its own steps.
    """
    return step.name == GET_RESULT and any(
        row.workflow_id == step.child_id and row.status == "SUCCESS" for row in run.workflows
    )


def _answered_otherwise(
    found: Sequence[StoredValue], known: Sequence[Sequence[StoredValue]]
) -> bool:
    """Return whether one of the answers is like none that any run without a fault was given."""
    if not known:
        return False
    unsteady = find_unsteady(
        one[-1].differences(other[-1]) for one, other in combinations(known, 2)
    )
    return any(
        all(unsteady.beyond(answer.differences(other)) for answers in known for other in answers)
        for answer in found
    )
