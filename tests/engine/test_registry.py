"""Arguments by name become the arguments of a call."""

from __future__ import annotations

from typing import Any

import pytest

from aexp.engine.registry import bind


def plain(a: int, b: int = 2, *, c: int = 3) -> Any:
    return a, b, c


def by_position(a: int, b: int = 2, /, c: int = 3) -> Any:
    return a, b, c


def variadic(a: int, b: int = 2, *rest: int, c: int = 3, **more: int) -> Any:
    return a, b, rest, c, more


@pytest.mark.parametrize(
    ("function", "given", "result"),
    [
        (plain, {"a": 1}, (1, 2, 3)),
        (plain, {"c": 5, "a": 1, "b": 4}, (1, 4, 5)),
        (by_position, {"a": 1}, (1, 2, 3)),
        (by_position, {"a": 1, "c": 5}, (1, 2, 5)),
        (by_position, {"a": 1, "b": 4}, (1, 4, 3)),
        (variadic, {"a": 1}, (1, 2, (), 3, {})),
        (variadic, {"a": 1, "rest": []}, (1, 2, (), 3, {})),
        (variadic, {"a": 1, "rest": [7, 8]}, (1, 2, (7, 8), 3, {})),
        (variadic, {"a": 1, "b": 4, "rest": [7], "c": 5}, (1, 4, (7,), 5, {})),
        (variadic, {"a": 1, "more": {"d": 6}}, (1, 2, (), 3, {"d": 6})),
        (variadic, {"a": 1, "d": 6}, (1, 2, (), 3, {"d": 6})),
    ],
)
def test_each_argument_reaches_its_place(function: Any, given: Any, result: Any) -> None:
    positional, named = bind(function, given)

    assert function(*positional, **named) == result


@pytest.mark.parametrize(
    ("function", "given", "reason"),
    [
        (plain, {}, "missing a required argument: 'a'"),
        (plain, {"a": 1, "d": 2}, "got an unexpected argument: 'd'"),
        (by_position, {"b": 1}, "missing a required argument: 'a'"),
    ],
)
def test_what_does_not_fit_is_an_error(function: Any, given: Any, reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        bind(function, given)
