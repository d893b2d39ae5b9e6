"""Durations as people write them: ``3d``, ``1h30m``, ``58.5s``. Pure."""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias

from aexp.errors import UsageError

__all__ = ["DEADLINES", "Down", "parse_down", "parse_duration", "write_duration"]

DEADLINES: Final = "deadlines"
# For how many seconds nothing lives, or until around each deadline.
Down: TypeAlias = float | Literal["deadlines"]

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_PART = re.compile(r"(\d+(?:\.\d+)?)([dhms])")
_LONGEST_S = 36_500 * 86_400


def parse_down(text: str) -> Down:
    """Return the seconds that ``text`` says, or DEADLINES where it says that. Raises UsageError."""
    if text == DEADLINES:
        return DEADLINES
    try:
        return parse_duration(text)
    except UsageError as error:
        raise UsageError(f"{error}; or {DEADLINES}") from error


def parse_duration(text: str) -> float:
    """Return the seconds that ``text`` says, more than 0. Raises UsageError."""
    parts = _PART.findall(text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if "".join(map("".join, parts)) != text or not 0 < seconds <= _LONGEST_S:
        raise UsageError(
            f"{text!r} is no duration: write 3d, 12h, 90s or 1h30m, at most {_LONGEST_S // 86_400}d"
        )
    return seconds


def write_duration(seconds: float) -> str:
    """Return the text that :func:`parse_duration` reads; to a tenth of a second."""
    left = round(seconds * 10)
    parts: list[str] = []
    for unit, size in _UNITS.items():
        number, left = divmod(left, size * 10)
        if unit == "s" and (number or left or not parts):
            parts.append(f"{number + left / 10:g}s")
        elif number:
            parts.append(f"{number}{unit}")
    return "".join(parts)
