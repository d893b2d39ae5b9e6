"""A checkpoint answers the call that it was recorded for."""

from __future__ import annotations

from collections.abc import Sequence

from aexp.crash.judge.evidence import Checkpoint, Evidence, Recorded
from aexp.crash.judge.verdicts import PROMISES
from tests.support.histories import ROOT, began, broken, called, compared, history, summaries

SAME_CALL = next(promise for promise in PROMISES if promise.name == "same_call")


def recovered(
    *records: Recorded, durable: Sequence[tuple[int, int, float]] = ((1, 0, 1.0),)
) -> Evidence:
    """Two lives; ``durable`` are the checkpoints: step, life, time."""
    return history(
        ("publish", 1), ("publish", 2), lives=2, records=records,
        checkpoints=[Checkpoint(ROOT, step, life, at) for step, life, at in durable],
    )  # fmt: skip


FIRST = [called(1, "quick", at=0.1, site="flows.py:31"), began(1, at=0.2)]


def found(evidence: Evidence) -> list[str]:
    return broken(SAME_CALL, compared(evidence, history(("publish", 1), ("publish", 2))))


def test_a_checkpoint_that_answers_another_call_is_found() -> None:
    other = recovered(*FIRST, called(1, "middling", life=1, at=5.0, site="flows.py:31"))
    assert found(other) == ["other_call"]
    (text,) = summaries(SAME_CALL, compared(other, history()))
    assert text == (
        "step 1 `publish` was recorded for ('quick',) at flows.py:31; on recovery the same"
        " checkpoint answered ('middling',) at flows.py:31"
    )


def test_the_same_call_may_be_answered_as_often_as_it_is_asked() -> None:
    again = called(1, "quick", life=1, at=5.0, site="flows.py:31")
    assert found(recovered(*FIRST, again)) == []
    assert found(recovered(*FIRST, again, called(1, "quick", life=2, at=9.0))) == []


def test_another_line_of_code_is_another_call() -> None:
    moved = recovered(*FIRST, called(1, "quick", life=1, at=5.0, site="flows.py:40"))
    assert found(moved) == ["other_call"]
    unknown = recovered(*FIRST, called(1, "quick", life=1, at=5.0, site=None))
    assert found(unknown) == []


def test_a_body_that_begins_again_with_other_arguments_is_found() -> None:
    """All before it is durable: what it is asked with can follow from nothing but that."""
    first = [called(2, "key-1", at=1.1), began(2, at=1.2)]
    again = [called(2, "key-2", life=1, at=5.0), began(2, life=1, at=5.1)]
    assert found(recovered(*FIRST, *first, *again)) == ["other_arguments"]
    same = [called(2, "key-1", life=1, at=5.0), began(2, life=1, at=5.1)]
    assert found(recovered(*FIRST, *first, *same)) == []


def test_arguments_may_follow_from_a_step_that_was_not_durable() -> None:
    first = [called(2, "price 10", at=1.1), began(2, at=1.2)]
    again = [
        called(1, "quick", life=1, at=4.0), began(1, life=1, at=4.1),
        called(2, "price 12", life=1, at=5.0), began(2, life=1, at=5.1),
    ]  # fmt: skip
    assert found(recovered(*FIRST, *first, *again, durable=[(1, 1, 4.5), (2, 1, 5.5)])) == []


def test_a_call_that_was_killed_before_its_body_began_is_no_answer() -> None:
    """Nothing was recorded yet when it asked."""
    late = recovered(
        *FIRST, called(1, "other", life=1, at=0.9), durable=[(1, 2, 7.0)]
    )  # fmt: skip
    assert found(late) == []


def test_another_name_is_for_dbos_to_refuse() -> None:
    renamed = recovered(*FIRST, called(1, "quick", life=1, at=5.0, name="ship"))
    assert found(renamed) == []


def test_nothing_is_known_without_records() -> None:
    assert SAME_CALL.check(compared(recovered(), history())) is None
    assert SAME_CALL.check(compared(recovered(*FIRST), history())) == []
