"""Declare an effect that a step has outside PostgreSQL, so that aexp can say how often it happened.

It imports nothing: a service that runs without aexp's laboratory pays for a name and a call.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

__all__ = ["Declared", "effect", "report_effects"]

# Told name, key and whether it may happen twice.
_report: Callable[[str, str, bool], None] | None = None


class Declared:
    """Nothing to wait for: it may be awaited, or not."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


_DECLARED = Declared()


def effect(name: str, *, key: object, idempotent: bool = False) -> Declared:
    """Declare that the calling step has the effect ``name`` now, for this ``key``.

    ``await effect("charge", key=order)`` in async code, and the same without ``await`` in sync
    code. ``aexp crash`` then promises that it happens once for each key, whatever fault strikes;
    ``idempotent`` says that twice is fine, because whoever receives it takes it once. Without
    aexp's laboratory it does nothing, in about 0.2 microseconds (CPython 3.11).
    """
    if _report is not None:
        _report(name, str(key), idempotent)
    return _DECLARED


def report_effects(report: Callable[[str, str, bool], None]) -> None:
    """Have ``report`` called with name, key and idempotence of each effect from now on."""
    global _report  # noqa: PLW0603 - a process records its effects, or does not
    _report = report
