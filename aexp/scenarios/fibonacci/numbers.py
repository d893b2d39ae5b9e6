"""Fibonacci numbers by naive recursion: work for a processor, and nothing else.

Imports nothing, since worker processes import it to compute.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["GRAIN", "fibonacci", "naive", "parts", "parts_count"]

# A number up to this is one part: 0.15 s of CPython 3.11 on a slow core.
GRAIN = 30


def naive(number: int) -> int:
    """Compute Fibonacci(number) by the recursion of its definition, in exponential time."""
    return number if number < 2 else naive(number - 1) + naive(number - 2)


def fibonacci(number: int) -> int:
    """Compute Fibonacci(number) in ``number`` additions: what :func:`naive` must come to."""
    before, current = 0, 1
    for _ in range(number):
        before, current = current, before + current
    return before


def parts(number: int) -> Iterator[int]:
    """Yield the numbers of at most GRAIN whose Fibonacci numbers add up to that of ``number``.

    The recursion's own tree, cut off at GRAIN: each part is to be computed each time it occurs.
    """
    if number <= GRAIN:
        yield number
    else:
        yield from parts(number - 1)
        yield from parts(number - 2)


def parts_count(number: int) -> int:
    """Return how many :func:`parts` ``number`` has."""
    # The tree above GRAIN - 1 and GRAIN is itself a Fibonacci tree: 1, 2, 3, 5, 8 … leaves.
    return 1 if number <= GRAIN else fibonacci(number - GRAIN + 2)
