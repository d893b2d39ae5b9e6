"""What an experiment left behind beside runs without a fault, as far as these agree. Pure.

A workflow is a function of its input and of what its steps returned. Two runs are therefore the
same only where their steps returned the same; what differs among runs without a fault is *unsteady*
and is compared with nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise

from aexp.crash.judge.evidence import Evidence, StepRecord
from aexp.crash.judge.fault_free import FaultFreeRuns, RunOutcome, only_hands_on
from aexp.crash.judge.identity import (
    GET_RESULT,
    Place,
    ReadPlace,
    StepPlace,
    answers_by_place,
    arguments_by_place,
    bodies_by_place,
    inputs_by_place,
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
        """The changed steps that are a reason for what is done to differ: not those that returned
        something else because an earlier body of theirs had changed what they found.
        """
        return [step for step in self.changed_steps if step not in self._by_own_doing]

    @cached_property
    def _by_own_doing(self) -> set[StepPlace]:
        numbers = number_steps(self.found)
        own = {
            (self.places[workflow_id], numbers[workflow_id, step_id])
            for workflow_id, step_id in changed_own_world(self.found)
            if (workflow_id, step_id) in numbers and workflow_id in self.places
        }
        return {step for step in self.changed_steps if (step.place, step.number) in own}

    @cached_property
    def _reasons_of_results(self) -> Sequence[StepPlace]:
        """The changed steps that are a reason for a result to differ: how many rows are new, say,
        follows from an earlier body, and is an answer; that the step fails now is none.
        """
        return [
            step
            for step in self.changed_steps
            if step not in self._by_own_doing or not self.steps[step].failed
        ]

    @property
    def cause_of_change(self) -> StepPlace | None:
        """The step on which what the workflows do may depend: one that returned something else, or
        one that does so without any fault; None when all returned the same.
        """
        return next(iter(self.reasons), None) or min(self.baseline.unsteady_steps, default=None)

    @property
    def cause_of_result(self) -> StepPlace | None:
        """The step on which what the workflows return and tell may depend."""
        return next(iter(self._reasons_of_results), None) or self.cause_of_change

    def cause_of_change_at(self, place: Place) -> StepPlace | None:
        """Return the step on which what the body of the workflow at ``place`` made may depend: one
        of its own or of those that it started, or any where it was started with something else, or
        asks for the result of one that it did not start.
        """
        if not self.started_alike(place) or self._asks_others(place):
            return self.cause_of_result
        below = f"{place}:"
        anywhere: Sequence[StepPlace] = ()
        if not self.started_the_same(place):
            # What it was given is another in each run, and may hold what has changed, or the time.
            timely = filter(self.baseline.may_tell_time, self.baseline.unsteady_steps)
            anywhere = [*self._reasons_of_results, *sorted(timely)]
        own = [*self._reasons_of_results, *sorted(self.baseline.unsteady_steps)]
        return next(
            (step for step in own if step.place == place or step.place.startswith(below)),
            next(iter(anywhere), None),
        )

    def _asks_others(self, place: Place) -> bool:
        """Return whether the workflow at ``place`` asks for the result of one beside it."""
        asked = {
            self.places.get(step.child_id, "")
            for step in self.found.steps
            if step.name == GET_RESULT
            and step.child_id is not None
            and self.places.get(step.workflow_id) == place
        }
        return any(not each.startswith(f"{place}:") for each in asked)

    def started_alike(self, place: Place) -> bool:
        """Return whether the workflow at ``place`` was given the same as without a fault, or what
        is another in each run: what depends on that is unsteady itself.
        """
        known, given = self._inputs(place)
        return None not in known | given and (len(known) > 1 or given <= known)

    def started_the_same(self, place: Place) -> bool:
        """Return whether the workflow at ``place`` was given the same in all runs."""
        known, given = self._inputs(place)
        return None not in known and len(known) == 1 and given <= known

    def _inputs(self, place: Place) -> tuple[set[str | None], set[str | None]]:
        known = {digest for run in self.baseline.inputs for digest in run.get(place, ())}
        return known, set(self._found_inputs.get(place, ()))

    @cached_property
    def _found_inputs(self) -> Mapping[Place, Sequence[str | None]]:
        return inputs_by_place(self.found, self.places)

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
            # Nobody knows who has: a body, or a function of the database.
            return self.cause_of_effects
        if not all(self.baseline.arguments):
            return self.cause_of_change  # Nobody noted them.
        timely = any(map(self.baseline.may_tell_time, self.baseline.unsteady_steps))
        if any(
            step in wrote and (timely or self._differs_anyhow(step)) for step in self._otherwise
        ):
            return self.cause_of_change
        return None

    def may_have_other_rows(self, table: str) -> bool:
        """Return whether ``table`` may end with more rows, or fewer, than without a fault, and be
        right.
        """
        if self.took_another_way:
            return True
        wrote = self._writers(table)
        if not self.reasons or not wrote or not wrote.isdisjoint(self._otherwise):
            return self.cause_of_rows(table) is not None
        # What a step writes that is asked the same, it writes whatever it returns.
        return not wrote.issuperset(self.reasons)

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

    def bodies_that_wrote(self, table: str) -> Mapping[StepPlace, int]:
        """Return how many bodies of each step may have written to ``table`` in the run found."""
        return bodies_by_place(self.found, self.places, writers_of(self.written, table))

    def _writers(self, table: str) -> set[StepPlace]:
        """Return the steps that may write to ``table``, in any run."""
        return {*self.bodies_that_wrote(table), *self.baseline.bodies_that_write(table)}

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
