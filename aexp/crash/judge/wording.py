"""Say how many there are of something, and how often it happened. Pure."""

from __future__ import annotations

__all__ = ["counted", "often"]


def counted(number: int, noun: str) -> str:
    """Return ``1 row``, ``2 rows``: nouns whose plural takes an s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def often(number: int) -> str:
    """Return ``once``, ``twice``, ``3 times``."""
    return {1: "once", 2: "twice"}.get(number, f"{number} times")
