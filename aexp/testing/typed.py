"""Give one function the parameters of another, for type checkers and for ``inspect``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

__all__ = ["as_coroutine_of", "as_function_of", "as_method_of"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_S = TypeVar("_S")


def as_coroutine_of(
    plain: Callable[_P, _R],
) -> Callable[[Callable[..., Coroutine[Any, Any, _R]]], Callable[_P, Coroutine[Any, Any, _R]]]:
    """Make a decorator: what it decorates takes what ``plain`` takes, but is awaited."""

    def decorate(
        function: Callable[..., Coroutine[Any, Any, _R]],
    ) -> Callable[_P, Coroutine[Any, Any, _R]]:
        return cast("Callable[_P, Coroutine[Any, Any, _R]]", _signed(function, plain))

    return decorate


def as_method_of(
    method: Callable[Concatenate[_S, _P], _R],
) -> Callable[[Callable[..., _R]], Callable[Concatenate[Any, _P], _R]]:
    """Make a decorator: the method takes what that ``method`` of another class takes."""

    def decorate(function: Callable[..., _R]) -> Callable[Concatenate[Any, _P], _R]:
        return cast("Callable[Concatenate[Any, _P], _R]", _signed(function, method))

    return decorate


def as_function_of(
    method: Callable[Concatenate[_S, _P], _R],
) -> Callable[[Callable[..., _R]], Callable[_P, _R]]:
    """Make a decorator: what it decorates takes what ``method`` takes, but for its ``self``."""

    def decorate(function: Callable[..., _R]) -> Callable[_P, _R]:
        return cast("Callable[_P, _R]", _signed(function, method, drop=1))

    return decorate


def _signed(function: Any, like: Any, *, drop: int = 0) -> Any:
    signature = inspect.signature(like)
    parameters = list(signature.parameters.values())[drop:]
    function.__signature__ = signature.replace(parameters=parameters)
    return function
