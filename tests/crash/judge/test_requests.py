"""Requests that a stub received twice: which are as bad as two effects, and which are right."""

from __future__ import annotations

from typing import Any

import pytest

from aexp.crash.http.received import ReceivedRequest
from aexp.crash.judge.alone import describe_unsteady
from aexp.crash.judge.evidence import Evidence, Recorded
from aexp.crash.judge.notes import describe_point
from aexp.crash.judge.requests import RepeatedRequest, repeated_requests, unite
from aexp.crash.judge.verdicts import PROMISES
from aexp.engine.recorder.records import SeenEffect
from tests.support.histories import (
    ROOT,
    began,
    broken,
    called,
    compared,
    declared,
    ended,
    history,
    sent,
    summaries,
)

ONCE = next(promise for promise in PROMISES if promise.name == "requests_once")
# A step that began at 1 in the first process, and at 5 in the second.
TWICE = (
    called(1, at=1.0, site="shop.py:9"), began(1, at=1.0),
    called(1, at=5.0, life=1, site="shop.py:9"), began(1, at=5.0, life=1),
)  # fmt: skip
ALONE = (began(1, at=1.0), ended(1, at=3.0))
ORDER = '{"order":"A17"}'


def run(*requests: ReceivedRequest, records: tuple[Recorded, ...] = ALONE) -> Evidence:
    """A run without a fault."""
    return history(("publish", None), requests=requests, records=records)


def struck(*requests: ReceivedRequest, records: tuple[Recorded, ...] = TWICE) -> Evidence:
    return history(("publish", None), lives=2, requests=requests, records=records)


def two(**given: Any) -> Evidence:
    """The same request from both runs of a step's body."""
    return struck(sent(1.5, **given), sent(5.5, life=1, **given))


def told(found: Evidence, *baseline: Evidence) -> list[str]:
    return [each.told for each in repeated_requests(compared(found, *baseline))]


def connected(target: str, site: str) -> Recorded:
    record = SeenEffect(
        workflow_id=ROOT, step_id=1, pid=10, at=1.2, epoch=0.0, kind="connection", target=target,
        site=site,
    )  # fmt: skip
    return Recorded(0, record)


def test_a_request_that_comes_twice_without_a_key_is_named_with_step_and_processes() -> None:
    beside = compared(two(body=ORDER), *[run(sent(1.5, body=ORDER))] * 3)
    assert broken(ONCE, beside) == ["request_repeated"]
    (anomaly,) = ONCE.check(beside) or ()
    assert anomaly.summary == (
        'POST /charges {"order":"A17"} was sent twice without an Idempotency-Key, by step'
        " `publish`, in processes 1 and 2"
    )
    assert [(row["process"], row["step_id"], row["key"]) for row in anomaly.rows] == [
        (1, 1, None),
        (2, 1, None),
    ]
    assert anomaly.where == "shop.py:9"
    assert repeated_requests(beside) == [
        RepeatedRequest(
            "SHOP_URL", f"POST /charges {ORDER}", "without an Idempotency-Key", 1, 2, points=1
        )
    ]


def test_a_key_that_is_another_one_each_time_protects_nothing() -> None:
    found = struck(sent(1.5, key="a"), sent(5.5, life=1, key="b"))
    beside = compared(found, run(sent(1.5, key="c")))
    assert broken(ONCE, beside) == ["request_repeated"]
    assert "with another Idempotency-Key each time" in summaries(ONCE, beside)[0]
    mixed = compared(struck(sent(1.5, key="a"), sent(5.5, life=1)), run(sent(1.5)))
    assert "now with an Idempotency-Key and now without" in summaries(ONCE, mixed)[0]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"key": "pay:~"}, "the same Idempotency-Key"),
        ({"method": "GET"}, "GET may come twice"),
        ({"method": "PUT"}, "PUT may come twice"),
        ({"safe": True}, "the route is safe"),
    ],
)
def test_what_may_come_twice_is_only_told(given: dict[str, Any], why: str) -> None:
    beside = compared(two(**given), run(sent(1.5, **given)))
    assert broken(ONCE, beside) == []
    assert told(two(**given), run(sent(1.5, **given))) == [why]


def test_a_step_that_says_it_is_idempotent_is_believed() -> None:
    says = (*TWICE, declared(1, "charge", idempotent=True))
    found = struck(sent(1.5), sent(5.5, life=1), records=says)
    assert broken(ONCE, compared(found, run(sent(1.5)))) == []
    assert told(found, run(sent(1.5))) == ["declared as idempotent"]
    other = (*TWICE, declared(1, "charge", idempotent=False))
    found = struck(sent(1.5), sent(5.5, life=1), records=other)
    assert broken(ONCE, compared(found, run(sent(1.5)))) == ["request_repeated"]


def test_a_body_with_a_time_in_it_is_counted_by_its_route() -> None:
    baseline = [run(sent(1.5, body=f'{{"at":{n}}}')) for n in range(3)]
    once = struck(sent(1.5, body='{"at":7}'))
    assert broken(ONCE, compared(once, *baseline)) == []
    assert told(once, *baseline) == []
    twice = struck(sent(1.5, body='{"at":7}'), sent(5.5, life=1, body='{"at":8}'))
    beside = compared(twice, *baseline)
    assert broken(ONCE, beside) == ["request_repeated"]
    assert summaries(ONCE, beside)[0].startswith("POST /charges was sent twice without")
    keyed = struck(sent(1.5, body='{"at":7}', key="k"), sent(5.5, life=1, body='{"at":8}', key="k"))
    by_key = [run(sent(1.5, body=f'{{"at":{n}}}', key="k")) for n in range(3)]
    assert broken(ONCE, compared(keyed, *by_key)) == []


def test_a_body_that_differs_only_after_the_kill_is_the_same_step_s_request() -> None:
    found = struck(sent(1.5, body='{"day":1}'), sent(5.5, life=1, body='{"day":2}'))
    beside = compared(found, *[run(sent(1.5, body='{"day":1}'))] * 3)
    assert broken(ONCE, beside) == ["request_repeated"]


def test_a_path_with_an_id_in_it_is_counted_by_its_route() -> None:
    def pay(order: int, at: float, life: int = 0) -> ReceivedRequest:
        return sent(at, life=life, path=f"/orders/{order}/pay", route="/orders/{order}/pay")

    baseline = [run(pay(n, 1.5)) for n in range(3)]
    assert broken(ONCE, compared(struck(pay(7, 1.5)), *baseline)) == []
    beside = compared(struck(pay(7, 1.5), pay(7, 5.5, life=1)), *baseline)
    assert summaries(ONCE, beside)[0].startswith("POST /orders/7/pay {} was sent twice")


def test_what_varies_in_number_without_a_fault_is_not_compared_and_named_once() -> None:
    baseline = [run(*[sent(1.5)] * times) for times in (2, 3, 2)]
    beside = compared(struck(*[sent(1.5)] * 3, sent(5.5, life=1)), *baseline)
    assert broken(ONCE, beside) == []
    (note,) = describe_unsteady(beside.baseline)
    assert note.summary == (
        "POST /charges of SHOP_URL was sent 2 to 3 times without a fault, and is not compared"
    )
    polled = [run(*[sent(1.5, safe=True)] * times) for times in (2, 3, 2)]
    assert describe_unsteady(compared(polled[0], *polled).baseline) == []


def test_more_of_them_from_one_run_of_a_body_or_from_other_steps_are_no_repetition() -> None:
    loop = struck(*[sent(1.5)] * 3, records=ALONE)
    assert broken(ONCE, compared(loop, *[run(*[sent(1.5)] * 2)] * 3)) == []
    steps = (*ALONE, began(2, at=5.0, life=1))
    polling = struck(sent(1.5), sent(5.5, life=1), records=steps)
    assert broken(ONCE, compared(polling, *[run(sent(1.5))] * 3)) == []


def test_a_retry_that_comes_without_a_fault_too_is_no_repetition() -> None:
    tried = (began(1, at=1.0), ended(1, at=2.0), began(1, at=2.1), ended(1, at=3.0))
    again = run(sent(1.5), sent(2.5), records=tried)
    assert broken(ONCE, compared(again, again, again)) == []
    more = struck(sent(1.5), sent(2.5), sent(5.5, life=1), records=(*tried, *TWICE[2:]))
    assert broken(ONCE, compared(more, again)) == ["request_repeated"]


def test_one_of_several_steps_at_a_time_is_named_by_the_name_that_all_have() -> None:
    def gathered(life: int, at: float, name: str) -> tuple[Recorded, ...]:
        return (began(1, at=at, life=life), began(2, at=at, life=life, name=name))

    for name, by in (("publish", ", by step `publish`"), ("mail", "")):
        records = (*gathered(0, 1.0, name), *gathered(1, 5.0, name))
        found = struck(sent(1.5), sent(5.5, life=1), records=records)
        (text,) = summaries(ONCE, compared(found, run(sent(1.5))))
        assert text.endswith(f"without an Idempotency-Key{by}, in processes 1 and 2")


def test_of_two_executors_at_a_time_the_bodies_say_which_one_it_was() -> None:
    records = (
        began(1, at=1.0), ended(1, at=2.0), began(1, at=5.0, life=1), ended(1, at=6.0, life=1),
    )  # fmt: skip
    found = struck(sent(1.5, life=None), sent(5.5, life=None), records=records)
    (text,) = summaries(ONCE, compared(found, run(sent(1.5))))
    assert text.endswith("in processes 1 and 2")


def test_what_no_step_sends_is_another_promise_s() -> None:
    found = struck(sent(0.5), sent(4.5, life=1))
    assert broken(ONCE, compared(found, run(sent(0.5)))) == []
    assert told(found, run(sent(0.5))) == ["outside any step"]
    assert ONCE.check(compared(history(), history())) is None


def test_what_is_judged_here_is_not_told_as_touched_too() -> None:
    records = (*TWICE, connected("SHOP_URL", "shop.py:5"))
    found = struck(sent(1.5), sent(5.5, life=1), records=records)
    beside = compared(found, run(sent(1.5)))
    assert describe_point(beside) == []
    (anomaly,) = ONCE.check(beside) or ()
    assert anomaly.where == "shop.py:5"
    others = (*TWICE, connected("SHOP_URL", "client.py:5"), connected("other:443", "shop.py:6"))
    beside = compared(struck(sent(1.5), sent(5.5, life=1), records=others), run(sent(1.5)))
    assert "touches connection other:443" in describe_point(beside)[0].summary
    assert [anomaly.where for anomaly in ONCE.check(beside) or ()] == ["shop.py:9"]


def test_a_request_without_a_route_is_told_once() -> None:
    runs = [run(sent(1.5, method="GET", path=f"/rates?n={n}", route=None)) for n in range(3)]
    (note,) = describe_unsteady(compared(runs[0], *runs).baseline)
    assert (note.kind, note.summary) == (
        "no_route", "SHOP_URL has no route for GET /rates, and answered 404",
    )  # fmt: skip


def test_what_is_found_at_several_points_is_united() -> None:
    one = RepeatedRequest("SHOP_URL", "GET /", "GET may come twice", 1, 2)
    more = RepeatedRequest("SHOP_URL", "GET /", "GET may come twice", 1, 3)
    other = RepeatedRequest("SHOP_URL", "POST /", "without an Idempotency-Key", 1, 2)
    (first, second) = unite([other, one, more])
    assert (first.request, first.points, first.most) == ("GET /", 2, 3)
    assert second == other
