"""Promises are checked by pure functions of any evidence."""

from __future__ import annotations

from aexp.model.promise import Anomaly, Promise, judge


def test_a_check_that_raises_is_no_pass() -> None:
    def check(evidence: object) -> list[Anomaly]:
        raise ZeroDivisionError("oops")

    [verdict] = judge([Promise("fragile", "never raises", check)], None)
    assert verdict.held is False
    assert verdict.anomalies == [Anomaly("its check raised ZeroDivisionError: oops")]


def test_a_promise_may_name_the_type_of_its_evidence() -> None:
    promise = Promise[int]("even", "it is even", lambda n: [Anomaly("it is odd")] * (n % 2))

    assert [verdict.held for n in (1, 2) for verdict in judge([promise], n)] == [False, True]
