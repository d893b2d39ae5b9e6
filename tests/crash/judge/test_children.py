"""Each child is started once, whatever its id."""

from __future__ import annotations

from dataclasses import replace

from aexp.crash.judge.evidence import Evidence, StepRecord, WorkflowRecord
from aexp.crash.judge.verdicts import PROMISES
from tests.support.histories import ROOT, broken, compared, history, summaries

CHILDREN = next(promise for promise in PROMISES if promise.name == "children_once")


def parent(*ids: str, strays: tuple[str, ...] = ()) -> Evidence:
    """The root has a step for each child of ``ids``; of ``strays`` it knows nothing."""
    run = history()
    return replace(
        run,
        steps=[StepRecord(ROOT, n, "mail", child_id=child) for n, child in enumerate(ids, 1)],
        workflows=[
            *run.workflows,
            *(
                WorkflowRecord(child, "mail", "SUCCESS", parent_id=ROOT)
                for child in (*ids, *strays)
            ),
        ],
    )


def test_ids_from_a_step_are_others_in_each_run() -> None:
    assert broken(CHILDREN, compared(parent("a", "b"), parent("c", "d"))) == []


def test_a_child_that_was_started_twice_by_one_call_is_found() -> None:
    twice = compared(parent("b", strays=("a",)), parent("c"))
    assert broken(CHILDREN, twice) == ["child_started_twice"]
    assert "started twice" in summaries(CHILDREN, twice)[0]


def test_the_number_of_children_may_differ() -> None:
    assert broken(CHILDREN, compared(parent("a", "b", "c"), parent("d"))) == []


def test_a_child_that_is_recorded_and_not_there_is_missing() -> None:
    lost = parent("a")
    lost = replace(lost, workflows=lost.workflows[:1])
    assert broken(CHILDREN, compared(lost, parent("b"))) == ["child_missing"]
    # A parent may delete what it has taken the result of.
    assert broken(CHILDREN, compared(lost, lost)) == []


def test_what_a_step_starts_by_a_client_is_counted() -> None:
    def mailed(*ids: str) -> Evidence:
        run = history(("send", None))
        more = [WorkflowRecord(each, "mail", "SUCCESS") for each in ids]
        return replace(run, workflows=[*run.workflows, *more])

    assert broken(CHILDREN, compared(mailed("x"), mailed("y"), mailed("z"))) == []
    assert broken(CHILDREN, compared(mailed("x", "y"), mailed("z"))) == ["child_started_twice"]
    assert broken(CHILDREN, compared(mailed(), mailed("z"))) == ["child_missing"]
    # As many as there are, without a fault either.
    assert broken(CHILDREN, compared(mailed("x", "y"), mailed("z"), mailed())) == []


def test_a_tree_of_children_is_found_at_its_places() -> None:
    def tree(child: str, grandchild: str) -> Evidence:
        run = parent(child)
        return replace(
            run,
            steps=[*run.steps, StepRecord(child, 1, "print", child_id=grandchild)],
            workflows=[
                *run.workflows, WorkflowRecord(grandchild, "print", "SUCCESS", parent_id=child)
            ],
        )  # fmt: skip

    assert broken(CHILDREN, compared(tree("a", "b"), tree("c", "d"))) == []
