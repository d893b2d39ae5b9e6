"""JSON of any value: what a workflow returns, what an anomaly shows."""

from __future__ import annotations

import json
import math
from datetime import date
from typing import Any

import pytest

from aexp.model.plain import plain, to_text


class Silent:
    def __repr__(self) -> str:
        raise ValueError("no words")


def loop() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, "NaN"),
        ([math.inf, -math.inf], ["Infinity", "-Infinity"]),
        ("a\0b", "a\0b"),
        ("caf\udce9", "caf\udce9"),
        (b"plain", "plain"),
        (b"\x00\xff", r"b'\x00\xff'"),
        ({"deep": [b"\xff", math.nan]}, {"deep": [r"b'\xff'", "NaN"]}),
        ([date(2026, 1, 1), b"\xff"], ["2026-01-01", r"b'\xff'"]),
        (10**400, 10**400),
        ([10**9000], [hex(10**9000)]),
        ((1, (2, {3})), [1, [2, [3]]]),
        ({(1, 2): None, True: False}, {"1,2": None, "true": False}),
        ("déjà", "déjà"),
    ],
)  # fmt: skip
def test_any_value_is_valid_json(value: Any, expected: Any) -> None:
    assert plain(value) == expected
    text = to_text({"value": value})
    assert json.loads(text, parse_constant=pytest.fail) == {"value": expected}
    assert text.encode()


def test_what_holds_itself_has_an_end() -> None:
    assert plain(loop()) == "<list of too many levels>"


def test_what_json_does_not_know_stands_there_as_text() -> None:
    assert "object object" in plain(object())
    assert "Silent" in plain([Silent(), b"\xff"])[0]


def test_what_utf_8_knows_is_written_as_it_is() -> None:
    assert to_text("déjà") == '"déjà"'
