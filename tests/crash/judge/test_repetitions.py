"""Steps that ran more than once, and effects outside PostgreSQL."""

from __future__ import annotations

from dataclasses import replace

from aexp.crash.judge.evidence import Evidence, Recorded
from aexp.crash.judge.notes import describe_point
from aexp.crash.judge.repetitions import RepeatedStep, repeated_steps
from aexp.crash.judge.verdicts import PROMISES
from tests.support.histories import (
    began,
    broken,
    called,
    compared,
    declared,
    history,
    summaries,
    touched,
)

IN_STEPS = next(promise for promise in PROMISES if promise.name == "effects_in_steps")


def noted(*records: Recorded) -> Evidence:
    return history(("publish", None), lives=2, records=records)


TWICE = (called(1, at=1.0), began(1, at=1.1), called(1, at=5.0, life=1), began(1, at=5.1, life=1))


def test_a_step_that_ran_in_two_processes_is_told_with_what_it_touched() -> None:
    found = noted(*TWICE, touched(1, "letters.txt", at=1.2))
    (step,) = repeated_steps(found)
    assert step == RepeatedStep("publish", points=1, most=2, touched=["file letters.txt"])
    (note,) = describe_point(compared(found, history(("publish", None))))
    assert note.kind == "ran_twice_outside"
    assert "letters.txt" in note.summary


def test_a_retry_in_one_process_is_no_second_run() -> None:
    assert repeated_steps(noted(called(1, at=1.0), began(1, at=1.1), began(1, at=1.2))) == []


def test_a_step_is_idempotent_where_all_its_effects_are_declared_so() -> None:
    (step,) = repeated_steps(noted(*TWICE, declared(1, "charge", idempotent=True)))
    assert step.idempotent
    both = (declared(1, "charge", idempotent=True), declared(1, "mail"))
    (step,) = repeated_steps(noted(*TWICE, *both))
    assert not step.idempotent


def test_an_effect_in_the_body_is_broken_and_one_in_a_step_is_not() -> None:
    body = noted(called(1, at=1.0), touched(None, "letters.txt", site="flows.py:7"))
    assert broken(IN_STEPS, compared(body, history())) == ["effect_in_body"]
    (text,) = summaries(IN_STEPS, compared(body, history()))
    assert text.startswith("the body of workflow `sell`, outside any step, changes letters.txt")
    step = noted(called(1, at=1.0), touched(1, "letters.txt"))
    assert broken(IN_STEPS, compared(step, history())) == []
    assert IN_STEPS.check(compared(history(), history())) is None


def test_an_effect_that_is_declared_happens_once_for_its_key() -> None:
    once = next(promise for promise in PROMISES if promise.name == "effects_once")
    twice = noted(*TWICE, declared(1, "charge"), declared(1, "charge", life=1))
    assert broken(once, compared(twice, history())) == ["effect_repeated"]
    fine = noted(
        *TWICE, declared(1, "mail", idempotent=True), declared(1, "mail", life=1, idempotent=True)
    )
    assert broken(once, compared(fine, history())) == []
    assert once.check(compared(noted(*TWICE), history())) is None


def test_a_step_that_must_run_once_is_found_in_two_processes_only() -> None:
    once = next(promise for promise in PROMISES if promise.name == "steps_once")
    tried_again = (called(1, at=1.0), began(1, at=1.1), began(1, at=1.2))
    for records, kinds in ((TWICE, ["effect_repeated"]), (tried_again, [])):
        beside = replace(compared(noted(*records), history()), once=frozenset({"publish"}))
        assert broken(once, beside) == kinds
    assert once.check(compared(noted(*TWICE), history())) is None
