"""Write any value as JSON: what a workflow returns may be whatever Python knows."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

__all__ = ["plain", "to_text"]

# Python writes no whole number of more digits than this in decimals.
_MOST_BITS = 14_000
_LONG_NUMBER = re.compile(rb"\d{4200}")
_HALF = re.compile("[\ud800-\udfff]")


def plain(value: Any) -> Any:
    """Return ``value`` as JSON values. Never fails.

    A number that is none is a text (``NaN``, ``Infinity``), bytes are the text that they are in
    UTF-8, else their repr, a whole number of thousands of digits is hexadecimal, and what JSON does
    not know is its repr. A text keeps a NUL and halves of surrogate pairs, which JSON escapes.
    """
    try:
        simple = to_jsonable_python(value, serialize_unknown=True, inf_nan_mode="strings")
    except (PydanticSerializationError, ValueError, RecursionError):
        simple = value
    try:
        return _plain(simple)
    except RecursionError:
        return f"<{type(value).__name__} of too many levels>"


def to_text(value: Any, *, indent: int | None = None) -> str:
    """Return ``value`` as a JSON document in valid UTF-8, as :func:`plain` has it. Never fails."""
    # Many times as fast, and right for nearly all values.
    with suppress(ValueError, RecursionError):
        text = to_json(value, indent=indent, serialize_unknown=True, inf_nan_mode="strings")
        if _LONG_NUMBER.search(text) is None:
            return text.decode()
    separators = (",", ":") if indent is None else None
    written = json.dumps(
        plain(value), indent=indent, separators=separators, ensure_ascii=False, allow_nan=False
    )
    # UTF-8 knows no halves of surrogate pairs.
    return _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", written)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_key(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes | bytearray):
        return _decoded(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(value)
    return value if value is None or isinstance(value, bool | str) else _leaf(value)


def _number(value: float) -> Any:
    if isinstance(value, int):
        return int(value) if value.bit_length() <= _MOST_BITS else hex(value)
    if math.isfinite(value):
        return float(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _decoded(value: bytes | bytearray) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return repr(value)


def _key(key: Any) -> str:
    text = _plain(key)
    return text if isinstance(text, str) else json.dumps(text, separators=(",", ":"))


def _leaf(value: Any) -> Any:
    """Return what stands for an object: its fields where pydantic knows them, else its repr."""
    try:
        simple = to_jsonable_python(value, inf_nan_mode="strings")
        if not isinstance(simple, type(value)):
            return _plain(simple)
    except (PydanticSerializationError, ValueError):
        pass
    try:
        return repr(value)
    except Exception as error:
        # A repr of the user's own may fail; what fails is all there is to say of the value.
        return f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
