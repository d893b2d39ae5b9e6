"""The user's tables beside those of runs without a fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aexp.crash.judge.alone import describe_unsteady
from aexp.crash.judge.evidence import Evidence, TableContent
from aexp.crash.judge.fault_free import FaultFreeRuns, RunOutcome
from aexp.crash.judge.verdicts import PROMISES
from tests.support.histories import (
    began,
    broken,
    called,
    compared,
    ended,
    history,
    summaries,
    table,
    wrote,
)

ROWS = next(promise for promise in PROMISES if promise.name == "same_rows")
ADA: Mapping[str, object] = {"who": "Ada"}


def paid(*rows: Mapping[str, object], numbered: tuple[str, ...] = (), **given: Any) -> Evidence:
    content = table(*rows, numbered=numbered)
    return history(("insert", None), tables={"public.payments": content}, **given)


def test_a_row_more_is_found() -> None:
    doubled = compared(paid(ADA, ADA), paid(ADA), paid(ADA))
    assert broken(ROWS, doubled) == ["rows_repeated"]
    assert "2 rows, 1 without a fault" in summaries(ROWS, doubled)[0]
    assert broken(ROWS, compared(paid(ADA), paid(ADA), paid(ADA))) == []


def test_a_row_less_and_another_row_are_found() -> None:
    lost = compared(paid(ADA), paid(ADA, ADA))
    assert broken(ROWS, lost) == ["rows_missing"]
    assert summaries(ROWS, lost) == ["table public.payments ends with 1 row, 2 without a fault"]
    assert broken(ROWS, compared(paid({"who": "Eve"}), paid(ADA))) == ["rows_differ"]


def test_columns_that_are_unsteady_are_left_out_and_told() -> None:
    runs = [paid({"who": "Ada", "at": n}) for n in range(3)]
    assert broken(ROWS, compared(paid({"who": "Ada", "at": 9}), *runs)) == []
    assert broken(ROWS, compared(paid({"who": "Eve", "at": 9}), *runs)) == ["rows_differ"]
    known = FaultFreeRuns(runs, [RunOutcome("SUCCESS", None)] * 3)
    (note,) = describe_unsteady(known)
    assert "column at of table public.payments" in note.summary


def test_a_gap_in_a_sequence_is_no_other_row() -> None:
    def sold(number: int) -> Evidence:
        return paid({"number": number, "who": "Ada"}, numbered=("number",))

    assert broken(ROWS, compared(sold(2), sold(1), sold(1))) == []


def test_a_table_whose_number_of_rows_is_unsteady_is_not_compared() -> None:
    runs = [paid(*[ADA] * n) for n in (1, 2, 1)]
    assert broken(ROWS, compared(paid(*[ADA] * 5), *runs)) == []


def test_of_a_large_table_the_number_counts() -> None:
    def large(count: int) -> Evidence:
        return history(tables={"public.t": TableContent(count, ["who"], frozenset(), None)})

    assert broken(ROWS, compared(large(5001), large(5000))) == ["rows_repeated"]
    assert broken(ROWS, compared(large(5000), large(5000))) == []


TWICE = [
    called(1, at=1.0), began(1, at=1.1),
    called(1, at=5.0, life=1), began(1, at=5.1, life=1), ended(1, at=5.9, life=1),
]  # fmt: skip
ONCE_EACH = [wrote("insert payments", life=0, at=1.5), wrote("insert payments", life=1, at=5.5)]


def test_where_the_steps_differ_the_one_that_wrote_twice_is_to_blame() -> None:
    """As many polls as it takes, and then a row too many."""

    def polled(polls: int, *rows: Mapping[str, object], **given: Any) -> Evidence:
        steps = [("insert", None), *[("poll", False)] * polls]
        return history(*steps, tables={"public.payments": table(*rows)}, **given)

    runs = [polled(2, ADA), polled(3, ADA)]
    doubled = polled(5, ADA, ADA, lives=2, records=TWICE, writes=ONCE_EACH)
    assert broken(ROWS, compared(doubled, *runs)) == ["rows_repeated"]
    assert "step `publish` ran twice" in summaries(ROWS, compared(doubled, *runs))[0]
    # More polls may have made more rows.
    assert broken(ROWS, compared(polled(5, ADA, ADA), *runs)) == []


def test_an_update_that_happened_twice_is_found_although_its_step_tells_of_it() -> None:
    def booked(balance: int, **given: Any) -> Evidence:
        rows = table({"who": "Ada", "balance": balance})
        return history(("book", balance), tables={"public.accounts": rows}, **given)

    writes = [wrote("update public.accounts", life=0, at=1.5),
              wrote("update public.accounts", life=1, at=5.5)]  # fmt: skip
    twice = booked(120, lives=2, records=TWICE, writes=writes)
    assert broken(ROWS, compared(twice, booked(110))) == ["rows_differ"]
    # The step returned something else, and the row follows from it.
    once = booked(120, lives=2, records=TWICE, writes=writes[1:])
    assert broken(ROWS, compared(once, booked(110))) == []


def test_a_table_that_is_not_there_is_found() -> None:
    assert broken(ROWS, compared(history(("insert", None)), paid(ADA))) == ["rows_differ"]
    assert ROWS.check(compared(history(), history())) is None
