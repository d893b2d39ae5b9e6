"""What an experiment left behind beside runs without a fault, as far as these agree. Pure.

A workflow is a function of its input and of what its steps returned. Two runs are therefore the
same only where their steps returned the same; what differs among runs without a fault is *unsteady*
and is compared with nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, pairwise

from aexp.crash.judge.evidence import Evidence, StepRecord
from aexp.crash.judge.fault_free import FaultFreeRuns, RunOutcome, only_hands_on
from aexp.crash.judge.identity import (
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
from aexp.crash.judge.spans import Written, changed_own_world, writers, writers_of
from aexp.crash.judge.values import StoredValue, Unsteady, find_unsteady
from aexp.engine.statuses import UNFINISHED

__all__ = ["BaselineComparison"]


_CUT_SHORT = frozenset({*UNFINISHED, "CANCELLED"})


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
            if only_hands_on(step, self.found):
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
        numbers = number_steps(self.found)
        own = {
            StepPlace(self.places[workflow_id], numbers[workflow_id, step_id], "")
            for workflow_id, step_id in changed_own_world(self.found)
            if (workflow_id, step_id) in numbers and workflow_id in self.places
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
        if wrote is None:
            # Nobody knows who has: a function of the database, say.
            return self.cause_of_effects
        if not all(self.baseline.arguments):
            return self.cause_of_change  # Nobody noted them.
        if any(step in wrote and self._differs_anyhow(step) for step in self._otherwise):
            return self.cause_of_change
        return None

    def may_have_other_rows(self, table: str) -> bool:
        """Return whether ``table`` may end with more rows, or fewer, than without a fault, and be
        right.
        """
        if self.took_another_way:
            return True
        cause = self.cause_of_rows(table)
        # What one step alone writes, it writes whatever it returns.
        return cause is not None and self._writers(table) != {cause}

    @property
    def may_act_otherwise(self) -> bool:
        """Whether steps may have done something else than without a fault, and be right."""
        return self.took_another_way or self.cause_of_effects is not None

    @property
    def took_another_way(self) -> bool:
        """Whether a workflow took another way, and had a reason to."""
        return not self.same_path and (self.cut_short or self.cause_of_change is not None)

    @cached_property
    def written(self) -> Written:
        """The bodies that wrote to tables in the run that was found."""
        return writers(self.found)

    def _writers(self, table: str) -> set[StepPlace] | None:
        """Return the steps that may write to ``table``, in any run: none where bodies alone do;
        None where it is unknown who does.
        """
        runs = [*zip(self.baseline.runs, self.baseline.places, self.baseline.written, strict=True)]
        known = [
            (run, places, bodies)
            for run, places, written in [*runs, (self.found, self.places, self.written)]
            if (bodies := writers_of(written, table)) is not None
        ]
        if not known:
            return None
        return {
            StepPlace(places[workflow_id], number, bodies[workflow_id, step_id][0].name)
            for run, places, bodies in known
            for numbers in [number_steps(run)]
            for workflow_id, step_id in bodies
            if workflow_id in places and (number := numbers.get((workflow_id, step_id))) is not None
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
