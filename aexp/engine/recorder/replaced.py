"""Put something in the place of another's function, and take it away again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["replaced"]


@contextmanager
def replaced(owner: Any, name: str, replacement: Any) -> Iterator[None]:
    """Have ``replacement`` be the attribute ``name`` of a class or module in this context."""
    # As it stands there, be it a class method or a static one.
    original = vars(owner)[name]
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        setattr(owner, name, original)
