"""Arguments of two calls are told apart by value, and by nothing that differs between processes."""

from __future__ import annotations

import enum
import subprocess
import sys
import threading
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from aexp.engine.recorder.arguments import describe_arguments, show_arguments
from aexp.engine.recorder.records import (
    DeclaredEffect,
    Record,
    StepCall,
    format_record,
    parse_records,
)


class Colour(enum.Enum):
    RED = 1


class Order(BaseModel):
    number: int


@dataclass
class Line:
    order: Order
    price: Decimal


class Client:
    """A thing with a state of its own, which is no data."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


@dataclass
class Session:
    """A record of things that are no data."""

    user: str
    client: Client


class Spiteful:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no equality")

    def __hash__(self) -> int:
        raise RuntimeError("no hash")


def digest(*args: Any, **kwargs: Any) -> str:
    return describe_arguments(args, kwargs)[1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"b", "a", "c"}, {"c", "a", "b"}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, OrderedDict(a=1)),
        (Client(), Client()),
        (Session("Ada", Client()), Session("Eve", Client())),
        (Spiteful(), Spiteful()),
        (Line(Order(number=1), Decimal("1.0")), Line(Order(number=1), Decimal("1.0"))),
        (ValueError("x"), ValueError("x")),
        (b"a" * 5_000_000, b"a" * 5_000_000),
        (lambda: 1, lambda: 2),
    ],
)
def test_the_same_data_is_the_same(one: Any, other: Any) -> None:
    assert digest(one) == digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (1, True),
        ("1", 1),
        ([1, 2], [2, 1]),
        ([1], (1,)),
        ({"a"}, {"b"}),
        (Colour.RED, 1),
        (Line(Order(number=1), Decimal(1)), Line(Order(number=2), Decimal(1))),
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)),
        (uuid.UUID(int=1), uuid.UUID(int=2)),
        (Path("a"), Path("b")),
        ("a" * 300 + "b", "a" * 300 + "c"),
        (ValueError("x"), ValueError("y")),
        (float("nan"), float("inf")),
        ("caf\udce9", "caf\udcea"),
    ],
)
def test_other_data_is_another(one: Any, other: Any) -> None:
    assert digest(one) != digest(other)


def test_names_and_places_count() -> None:
    assert digest(1, 2) != digest(2, 1)
    assert digest(a=1, b=2) == digest(b=2, a=1)
    assert digest(a=1) != digest(b=1)
    assert digest() != digest(None)


def test_the_text_is_short_and_says_what_was_given() -> None:
    assert describe_arguments(("quick", 2), {"to": {"b", "a"}})[0] == "('quick', 2, to={'a', 'b'})"
    assert describe_arguments(("a",), {})[0] == "('a',)"
    assert len(describe_arguments(({"key": ["x" * 50] * 100},), {})[0]) <= 200
    assert describe_arguments((Client(),), {})[0] == "(<Client>,)"
    describe_arguments(("caf\udce9",), {})[0].encode()


def test_a_process_that_hashes_otherwise_says_the_same() -> None:
    program = (
        "from aexp.engine.recorder.arguments import describe_arguments;"
        "print(describe_arguments(({f'n{i}' for i in range(50)}, {'k': {'a', 'b'}}), {})[1])"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(found) == 1


def test_a_cycle_comes_to_an_end() -> None:
    nested: list[Any] = []
    nested.append(nested)
    assert digest(nested) == digest(nested)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a" * 1_000_000, "('aaaa"),
        (list(range(100_000)), "([0, 1, 2, 3, 4, 5, ...])"),
        (dict.fromkeys(range(100_000)), "({… 100000})"),
        (frozenset(range(100_000)), "({… 100000})"),
        (Line(Order(number=1), Decimal(2)), "(Line(order=Order(number=1), price=Decimal('2')))"),
        (Colour.RED, "(Colour.RED)"),
        (b"x" * 1000, "(b'" + "x" * 60 + "'…)"),
        (Client(), "(<Client>)"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_little_is_shown_of_what_is_large_and_no_code_of_a_class_runs(
    value: Any, shown: str
) -> None:
    text = show_arguments([value], {})
    assert text.startswith(shown)
    assert len(text) <= 200


def test_no_argument_can_break_what_shows_it() -> None:
    named_like = type("list", (), {"__len__": lambda _: 1 / 0})
    assert show_arguments([Spiteful(), named_like()], {"half": "\udce9"}) != ""
    assert show_arguments([1] * 9, {}) == "(1, 1, 1, 1, 1, 1, …)"


def test_records_are_lines_and_one_that_was_cut_short_is_left_out() -> None:
    place: dict[str, Any] = {"workflow_id": "w", "step_id": 1, "pid": 2, "at": 1.5, "epoch": 2.5}
    records: list[Record] = [
        StepCall(**place, name="publish", arguments="('a',)", digest="d", site="flows.py:1"),
        DeclaredEffect(**place, name="charge", key="A\n17", idempotent=True, site=None),
    ]
    lines = [format_record(record).decode() for record in records]
    assert list(parse_records(lines)) == records
    assert list(parse_records([lines[0], lines[1][:20]])) == records[:1]
