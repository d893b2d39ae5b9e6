"""Which parts of two values differ, and which of them count."""

from __future__ import annotations

import math
import uuid
from collections import namedtuple
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from aexp.crash.judge.values import StoredValue, Unsteady, differences, find_unsteady
from tests.support.histories import stored


class Order(BaseModel):
    number: int
    at: datetime


@dataclass
class Line:
    article: str
    price: float


class Bare:
    """It has no equality of its own."""

    def __init__(self, size: int) -> None:
        self.size = size


class Slotted:
    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size


class Spiteful:
    """Its comparison raises, as that of an array has no truth."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    def __hash__(self) -> int:
        return 1

    def __repr__(self) -> str:
        return f"Spiteful({self.size})"


Pair = namedtuple("Pair", "left right")
NOW, LATER = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": [1, 2]}, {"b": [1, 2], "a": 1}),
        (math.nan, math.nan),
        ([{"n": math.nan}], [{"n": math.nan}]),
        (Bare(1), Bare(1)),
        ([Slotted(1)], [Slotted(1)]),
        (object(), object()),
        (ValueError("x", 1), ValueError("x", 1)),
        ({"a", "b", "c"}, {"c", "b", "a"}),
        (Spiteful(1), Spiteful(1)),
        (Line("a", math.nan), Line("a", math.nan)),
    ],
)
def test_what_says_the_same_does_not_differ(one: Any, other: Any) -> None:
    assert differences(one, other) == frozenset()


@pytest.mark.parametrize(
    ("one", "other", "paths"),
    [
        (1, 2, {()}),
        (1, True, {()}),
        (1, 1.0, {()}),
        ([1], [1, 2], {()}),
        ([1, 2], (1, 2), {()}),
        ({"a": 1}, {"b": 1}, {()}),
        ({"id": 1, "x": 1}, {"id": 2, "x": 1}, {("['id']",)}),
        ([{"at": 1}, {"at": 2}], [{"at": 1}, {"at": 3}], {("[*]", "['at']")}),
        (Order(number=1, at=NOW), Order(number=1, at=LATER), {(".at",)}),
        (Line("a", 1.0), Line("a", 2.0), {(".price",)}),
        (Bare(1), Bare(2), {(".size",)}),
        (Slotted(1), Slotted(2), {(".size",)}),
        (Pair(1, 2), Pair(1, 3), {(".right",)}),
        (ValueError("x"), ValueError("y"), {(".args", "[0]")}),
        (("id-1", "2 items"), ("id-2", "2 items"), {("[0]",)}),
        (ValueError("x"), KeyError("x"), {()}),
        ({1, 2}, {1, 3}, {()}),
        (Spiteful(1), Spiteful(2), {()}),
    ],
)
def test_what_differs_is_named_by_its_path(one: Any, other: Any, paths: set[Any]) -> None:
    assert differences(one, other) == paths


def test_what_is_unsteady_covers_all_below_it_and_nothing_beside() -> None:
    unsteady = find_unsteady([[("['id']",)], [("['lines']", "[*]", ".at")]])
    assert unsteady.beyond([("['id']",), ("['id']", ".hex"), ("['lines']", "[*]", ".at")]) == []
    assert unsteady.beyond([("['lines']", "[*]")]) == [("['lines']", "[*]")]
    assert unsteady.beyond([()]) == [()]
    assert not unsteady.is_whole
    assert Unsteady(frozenset({()})).is_whole


def test_a_place_of_a_list_that_was_steady_by_chance_is_no_other_part() -> None:
    unsteady = find_unsteady([differences([1, 5], [2, 5])])
    assert unsteady.beyond(differences([1, 5], [1, 6])) == []


def test_stored_values_are_compared_by_their_parts() -> None:
    one = {"id": str(uuid.uuid4()), "paid": True}
    other = {**one, "id": str(uuid.uuid4())}
    assert stored(one).differences(stored(other)) == {("['id']",)}
    assert stored({"a", "b"}).differences(stored({"b", "a"})) == frozenset()
    assert stored(1).differences(StoredValue(None)) == {()}


def test_what_cannot_be_read_or_is_too_large_is_one_part() -> None:
    broken = StoredValue("a", "no pickle", "py_pickle")
    assert broken.differences(StoredValue("b", "another", "py_pickle")) == {()}
    assert StoredValue("a").differences(StoredValue("b")) == {()}
    assert StoredValue("a").differences(StoredValue("a")) == frozenset()
