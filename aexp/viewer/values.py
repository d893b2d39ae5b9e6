"""What a step returned or raised, as a short text. Never fails."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from aexp.engine.stored import load_stored
from aexp.log import mask

__all__ = ["MOST_BYTES", "MOST_CHARACTERS", "shorten", "stored_text"]

MOST_CHARACTERS = 2_000
# A larger one is not even read: unpickled it would take many times that.
MOST_BYTES = 256 * 1024


def stored_text(
    stored: str | None, serialization: str | None, *, limit: int = MOST_CHARACTERS
) -> str | None:
    """Show the value that DBOS stored as text of at most ``limit`` characters; None without one.

    An error is its type and its message, anything else its repr.
    """
    if stored is None:
        return None
    try:
        value = load_stored(stored, serialization)
    except (Exception, SystemExit) as error:  # whatever a class makes of its unpickling
        reason = f"{type(error).__name__}: {_safely(str, error)}"
        return shorten(f"(cannot be decoded: {reason}) {stored}", limit)
    if isinstance(value, BaseException):
        return shorten(f"{type(value).__name__}: {_safely(str, value)}", limit)
    return shorten(_safely(_Brief(limit).repr, value), limit)


def shorten(text: str, limit: int = MOST_CHARACTERS) -> str:
    """Return ``text`` without passwords, in valid UTF-8, and cut at ``limit`` characters."""
    # Cut before and after: masking a very long text takes long, and may make it longer.
    plain = mask(text[: 2 * limit]).encode(errors="backslashreplace").decode()
    if len(plain) <= limit and len(text) <= 2 * limit:
        return plain
    return f"{plain[: max(0, limit - 1)]}…"


def _safely(function: Any, value: object) -> str:
    try:
        return str(function(value))
    except (Exception, SystemExit) as error:  # a repr may raise anything
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"


class _Brief(reprlib.Repr):
    """A repr that stops when it has said enough, however large or shared the value."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.maxlevel = 12
        self.maxtuple = self.maxlist = self.maxset = self.maxfrozenset = self.maxdeque = limit
        self.maxdict = self.maxarray = limit
        self.maxstring = self.maxother = self.maxlong = limit
        self._left = limit

    def repr1(self, x: Any, level: int) -> str:
        """Count what inner values said; those that come after the limit are left out."""
        if self._left <= 0:
            return self.fillvalue
        # Each value costs something, for one that holds itself many times over says little of each.
        self._left -= 1
        text = super().repr1(x, level)
        if not isinstance(x, (list, tuple, dict, set, frozenset)):
            self._left -= len(text)
        return text

    def repr_dict(self, x: Mapping[Any, Any], level: int) -> str:
        """Write a dict in its own order, in which reprlib would sort it."""
        if level <= 0:
            return "{...}"
        pairs = []
        for key, value in x.items():
            if self._left <= 0:
                pairs.append(self.fillvalue)
                break
            pairs.append(f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}")
        return "{" + ", ".join(pairs) + "}"
