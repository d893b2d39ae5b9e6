"""An executor that is stopped, loses its work to another one, goes on, and leaves no trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from aexp.crash.judge.evidence import Checkpoint, LifeRecord
from aexp.crash.judge.ownership import Change, Phase, Takeover, foreign_changes
from aexp.database import DatabaseUrl
from tests.crash.judge.test_verdicts import CHILD, GOOD, ROOT, broken
from tests.support.explorations import PLANTED, promises, struck
from tests.support.histories import began

OLD, HEIR, NOBODY = "local", "heir-of-local", ""
FIRST = "insert dbos.operation_outputs [~:1]#1"


def status(who: str, after: str, before: str | None = None, phase: str = "earlier") -> Change:
    return Change(
        executor_id=who, operation="update" if before else "insert", table="dbos.workflow_status",
        workflow_id=ROOT, phase=Phase(phase), status=after, before=before,
    )  # fmt: skip


def step(who: str, number: int, phase: str = "earlier", workflow_id: str = ROOT) -> Change:
    return Change(
        executor_id=who, operation="insert", table="dbos.operation_outputs",
        workflow_id=workflow_id, step_id=number, phase=Phase(phase),
    )  # fmt: skip


# The one claims it and does a step; the other is given it, and comes to the end.
CLAIMED = (
    status(OLD, "ENQUEUED"),
    status(OLD, "PENDING", "ENQUEUED"),
    step(OLD, 1),
)
TAKEN = (
    status(NOBODY, "ENQUEUED", "PENDING"),
    status(HEIR, "PENDING", "ENQUEUED"),
)
ENDED = (step(HEIR, 2), status(HEIR, "SUCCESS", "PENDING"))


def taken_over(*changes: Change) -> Takeover:
    return Takeover(
        executor_id=OLD, heir_id=HEIR, life=0, stopped_at=2.0,
        changes=[*CLAIMED, *TAKEN, *changes],
    )  # fmt: skip


@pytest.mark.parametrize(
    "later",
    [
        [step(OLD, 2, "later")],
        [status(OLD, "SUCCESS", "PENDING", "later")],
        # Not even before it knows that it was stopped, once the work is not its own.
        [step(OLD, 2)],
        # Of a child that the other one has started.
        [replace(step(OLD, 1, "later"), workflow_id=CHILD)],
        [replace(status(OLD, "PENDING", None, "later"), workflow_id=CHILD, parent=ROOT)],
        # Taken from it for a second time.
        [status(NOBODY, "ENQUEUED", "PENDING"), status(OLD, "PENDING", "ENQUEUED", "later"),
         status(NOBODY, "ENQUEUED", "PENDING", "later"), step(OLD, 2, "later")],
    ],
)  # fmt: skip
def test_what_an_old_owner_records_of_lost_work_is_found(later: Sequence[Change]) -> None:
    found = taken_over(*ENDED, *later)
    assert len(foreign_changes(found)) == 1
    assert broken(replace(GOOD, take_over=found)) == {"old_owner"}


@pytest.mark.parametrize(
    "later",
    [
        [],
        # The other one has waited for it.
        [step(OLD, 2, "held-open")],
        # It claims it again, as anybody may: it is its own now.
        [status(NOBODY, "ENQUEUED", "PENDING"), status(OLD, "PENDING", "ENQUEUED", "later"),
         step(OLD, 2, "later"), status(OLD, "SUCCESS", "PENDING", "later")],
        # What it starts itself.
        [replace(status(OLD, "PENDING", None, "later"), workflow_id=CHILD),
         step(OLD, 1, "later", CHILD)],
    ],
)  # fmt: skip
def test_what_it_records_of_its_own_work_is_no_breach(later: Sequence[Change]) -> None:
    found = taken_over(*later)
    assert not foreign_changes(found)
    assert not broken(replace(GOOD, take_over=found))


def test_it_must_come_to_its_end_too() -> None:
    stopped = [LifeRecord(10, None, killed=False, stopped=True), GOOD.lives[1]]
    assert broken(replace(GOOD, take_over=taken_over(*ENDED), lives=stopped)) == {"run_ends"}


def test_only_what_it_was_about_to_do_may_begin_unawares() -> None:
    found = replace(
        GOOD,
        take_over=taken_over(*ENDED),
        checkpoints=[Checkpoint(ROOT, 1, 0, at=1.0), Checkpoint(ROOT, 2, 1, at=4.0)],
    )
    assert not broken(replace(found, records=[*found.records, began(2, name="ship", at=5.0)]))
    for bad in (began(2, name="ship", life=1, at=5.0), began(1, name="ship", at=5.0)):
        assert broken(replace(found, records=[*found.records, bad])) == {"never_again"}


def test_the_work_of_a_stopped_executor_is_taken_over_and_its_own(server: DatabaseUrl) -> None:
    result = struck(server, f"{PLANTED}/bugs.py:sound", f"zombie-after:{FIRST}")
    assert (result.void, result.held) == (None, True), result.broken
    found = result.take_over
    assert found is not None
    assert (found.handed_over, found.waited_for) == (["~"], None)
    assert [v.held for v in result.verdicts if v.name == "old_owner"] == [True]
    # The one has recorded a step, the other all that came after it.
    recorded = {(c.executor_id, c.step_id) for c in found.changes if "outputs" in c.table}
    assert recorded == {(OLD, 1), (HEIR, 2)}


def test_who_waits_for_a_transaction_of_the_stopped_one_is_told(server: DatabaseUrl) -> None:
    result = struck(server, f"{PLANTED}/bugs.py:sound", f"zombie-before:{FIRST}")
    assert (result.void, result.held) == (None, True), result.broken
    found = result.take_over
    assert found is not None
    assert found.waited_for == "a transaction that the stopped executor holds open"
    assert found.as_json()["held_open"] == [
        {"write": "insert dbos.operation_outputs", "workflow_id": "~", "step_id": 1}
    ]


def test_what_a_stopped_one_does_unawares_is_found(server: DatabaseUrl) -> None:
    target = f"{PLANTED}/unowned.py:SCENARIO"
    result = struck(server, target, "zombie-after:insert shipments#1")
    assert result.void is None
    # The effect of a plain step is there twice, and a row is written that is another's.
    assert promises(result) == {"shipped_once", "old_owner", "same_rows"}
