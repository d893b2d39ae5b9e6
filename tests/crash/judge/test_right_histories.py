"""Histories of right workflows that look like bugs: none is accused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aexp.crash.judge.evidence import (
    EventRecord,
    Evidence,
    Recorded,
    Seen,
    StepRecord,
    WorkflowRecord,
)
from aexp.crash.judge.spans import body_spans, changed_own_world
from aexp.crash.judge.verdicts import PROMISES
from tests.support.histories import (
    ROOT,
    began,
    called,
    compared,
    declared,
    ended,
    history,
    sent,
    stored,
    table,
    wrote,
)


def found(run: Evidence, *baseline: Evidence) -> set[str]:
    """The kinds of what is broken."""
    comparison = compared(run, *baseline)
    return {anomaly.kind for each in PROMISES for anomaly in each.check(comparison) or ()}


def child(workflow_id: str, returns: object, *, given: str = "same") -> WorkflowRecord:
    return WorkflowRecord(
        workflow_id, "child", "SUCCESS", parent_id=ROOT, inputs_digest=given,
        outcome=stored(returns),
    )  # fmt: skip


ROOT_ROW = WorkflowRecord(ROOT, "sell", "SUCCESS", inputs_digest="same")


def step(
    number: int, name: str, value: object = None, *, child_id: str | None = None, of: str = ROOT
) -> StepRecord:
    return StepRecord(of, number, name, stored(value), child_id=child_id)


def test_handles_that_are_gathered_in_any_order_start_the_same_children() -> None:
    def gathered(*order: str, lives: int = 1) -> Evidence:
        steps = [
            step(1, "child", child_id="one"),
            step(2, "child", child_id="two"),
            *(step(3 + n, "DBOS.getResult", each, child_id=each) for n, each in enumerate(order)),
        ]
        children = [child("one", 1, given="a"), child("two", 2, given="b")]
        return history(steps=steps, workflows=[ROOT_ROW, *children], lives=lives)

    assert found(gathered("two", "one", lives=2), *[gathered("one", "two")] * 3) == set()


def reserved(made: str, stock: int, *, lives: int = 1) -> Evidence:
    """A child is given an id, and what another step has read."""
    steps = [
        step(1, "make_id", made),
        step(2, "read_stock", stock),
        step(3, "child", child_id="c"),
    ]
    rows = [ROOT_ROW, child("c", stock, given=f"{made} {stock}")]
    events = [EventRecord("c", "left", stored(stock))]
    return replace(history(steps=steps, workflows=rows, lives=lives), events=events)


def test_a_child_may_follow_what_a_step_has_read_beside_an_id() -> None:
    runs = [reserved(made, 5) for made in ("x", "y", "z")]
    assert found(reserved("w", 3, lives=2), *runs) == set()
    # The event comes from nowhere.
    other = [EventRecord("c", "left", stored(4))]
    assert found(replace(reserved("w", 5, lives=2), events=other), *runs) == {"event_differs"}


def test_a_child_may_return_what_the_one_beside_it_does() -> None:
    def both(stock: int, *, lives: int = 1) -> Evidence:
        steps = [
            step(1, "read_stock", stock, of="a"),
            step(1, "DBOS.getResult", stock, of="b", child_id="a"),
            step(1, "child", child_id="a"),
            step(2, "child", child_id="b"),
        ]
        rows = [ROOT_ROW, child("a", stock), child("b", stock)]
        return history(steps=steps, workflows=rows, lives=lives)

    assert found(both(3, lives=2), *[both(5)] * 3) == set()
    # Nothing else has changed.
    only_b = both(5, lives=2)
    rows = [*only_b.workflows[:-1], child("b", 3)]
    assert found(replace(only_b, workflows=rows), *[both(5)] * 3) == {"result_differs"}


def test_a_step_that_saves_what_came_saves_nothing_where_nothing_came() -> None:
    def saved(message: str | None, count: int, *, lives: int = 1) -> Evidence:
        return history(
            ("DBOS.recv", message), ("save", count), result=count, lives=lives,
            records=[called(2, message, at=2, name="save"), began(2, at=2, name="save"),
                     ended(2, at=3)],
            writes=[wrote("insert public.lines", life=0, at=2.5)],
            tables={"public.lines": table(*[{"n": n} for n in range(count)])},
        )  # fmt: skip

    assert found(saved(None, 0, lives=2), *[saved("two", 2)] * 3) == set()


def reported(body: str, *, lives: int = 1) -> Evidence:
    return history(
        ("report", None), lives=lives, requests=[sent(1.5, body=body)],
        records=[called(1, at=1, name="report"), began(1, at=1, name="report"), ended(1, at=2)],
    )  # fmt: skip


def test_a_request_with_the_time_in_it_is_sent_at_another_time() -> None:
    runs = [reported('{"minute": "20:44"}')] * 3
    assert found(reported('{"minute": "20:51"}', lives=2), *runs) == set()
    silent = replace(reported("", lives=2), requests=[])
    assert found(silent, *runs) == {"effect_missing"}


def test_an_effect_with_the_time_in_its_key_happens_at_another_time() -> None:
    def effects(*records: Recorded, lives: int = 1) -> Evidence:
        return history(("digest", None), lives=lives, records=[called(1, at=1), *records])

    runs = [effects(declared(1, "digest"))] * 3
    later = declared(1, "digest")
    other = Recorded(later.life, replace(later.record, key="tomorrow"))  # type: ignore[arg-type]
    assert found(effects(other, lives=2), *runs) == set()
    assert found(effects(lives=2), *runs) == {"effect_missing"}


def imported(
    count: int, records: Sequence[Recorded], writes: Sequence[Seen], *, lives: int = 1
) -> Evidence:
    return history(
        ("import", count), result={"imported": count}, lives=lives, records=records, writes=writes,
        tables={"public.orders": table({"n": 1}, {"n": 2})},
    )  # fmt: skip


ONCE = [called(1, at=1, name="import"), began(1, at=1, name="import"), ended(1, at=2)]
TWICE = [
    *ONCE[:2], called(1, life=1, at=11, name="import"), began(1, life=1, at=11, name="import"),
    ended(1, life=1, at=12),
]  # fmt: skip
INSERTED = [wrote("insert public.orders", life=0, at=1.5)]


def test_how_many_rows_were_new_is_an_answer() -> None:
    again = replace(imported(0, TWICE, INSERTED, lives=2), checkpoints=[])
    assert found(again, *[imported(2, ONCE, INSERTED)] * 3) == set()
    fewer = replace(again, tables={"public.orders": table({"n": 1})})
    assert found(fewer, *[imported(2, ONCE, INSERTED)] * 3) == {"rows_missing"}


def test_a_transaction_is_written_when_its_function_has_returned() -> None:
    begun = Recorded(0, replace(began(1, at=1).record, transactional=True))  # type: ignore[arg-type]
    run = history(("save", 1), records=[begun, ended(1, at=2), began(2, at=1, name="poll")])
    saves, polls = body_spans(run)[ROOT, 1], body_spans(run)[ROOT, 2]
    assert saves[0].covers(0, 3.0)
    assert polls[0].covers(0, 3.0)
    late = replace(run, writes=[wrote("insert public.orders", life=0, at=3.0)])
    assert changed_own_world(late) == frozenset()


def test_a_stopped_process_ends_its_own_body() -> None:
    run = history(
        lives=2, records=[began(1, at=1), began(1, life=1, at=5), ended(1, life=1, at=6),
                          ended(1, at=9)],
    )  # fmt: skip
    old, new = body_spans(run)[ROOT, 1]
    assert (old.ended, new.ended) == (9, 6)


def test_rows_that_are_paired_by_chance_are_not_compared() -> None:
    def ranked(order: str, *, lives: int = 1) -> Evidence:
        rows = table(*[{"place": place, "job": job} for place, job in enumerate(order)])
        return history(lives=lives, tables={"public.finish": rows})

    assert found(ranked("BAC", lives=2), ranked("ABC"), ranked("ACB"), ranked("ACB")) == set()


def test_a_cell_that_a_clock_may_be_behind_is_not_compared() -> None:
    def known(run: str, took: int, *, lives: int = 1) -> Evidence:
        rows = table({"key": "run", "value": run}, {"key": "took", "value": took})
        return history(lives=lives, tables={"public.known": rows})

    runs = [known(run, 0) for run in "xyz"]
    assert found(known("w", 2, lives=2), *runs) == set()
    words = [replace(run, tables={"public.known": table(
        {"key": "run", "value": name}, {"key": "state", "value": "paid"})})
        for run, name in zip(runs, "xyz", strict=True)]  # fmt: skip
    other = replace(words[0], tables={"public.known": table(
        {"key": "run", "value": "w"}, {"key": "state", "value": "open"})})  # fmt: skip
    assert found(other, *words) == {"rows_differ"}
