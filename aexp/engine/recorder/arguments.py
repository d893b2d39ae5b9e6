"""Tell the arguments of two calls apart, in another process too.

Plain data counts by its value, whatever order a set or a mapping has; anything else by the name of
its type alone, so that no address, socket or lock makes two calls differ.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from pathlib import PurePath
from typing import Any
from uuid import UUID

from dbos._core import (
    WorkflowHandleAsyncPolling,
    WorkflowHandleAsyncTask,
    WorkflowHandleFuture,
    WorkflowHandlePolling,
)
from pydantic import BaseModel

__all__ = ["describe_arguments", "show_arguments"]

_HANDLES = (
    WorkflowHandleAsyncPolling, WorkflowHandleAsyncTask, WorkflowHandleFuture,
    WorkflowHandlePolling,
)  # fmt: skip
_LONGEST = 200
# Before what is no data; a text has it as an escape.
_OPAQUE = "\0"
_DEEPEST = 20
# A value with more parts counts by as many, and by how many it has.
_MOST_PARTS = 10_000
# Of what is only shown.
_MOST_SHOWN = 6
_MOST_OF_TEXT = 60
_SHORTEST = frozenset({bool, float, type(None), UUID})
# So many are sorted to be shown.
_FEW = 100
_PLAIN = (
    bool, int, float, complex, type(None), date, datetime, time, timedelta, tzinfo, Decimal,
    Fraction, UUID, PurePath,
)  # fmt: skip


def describe_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, str]:
    """Return a text of the arguments for people, of 200 characters at most, and a digest of all of
    them. Never raises for what a class of the user's makes of its comparison or its repr.
    """
    digest = hashlib.blake2b(digest_size=12)
    shown: list[str] = []
    length = 0
    for marked in _pieces(args, kwargs):
        piece = marked.replace(_OPAQUE, "")
        digest.update(piece.encode(errors="surrogatepass"))
        if length <= _LONGEST:
            shown.append(piece)
            length += len(piece)
    return _cut("".join(shown)), digest.hexdigest()


def show_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return a short text of the arguments for people, at a small cost however much they hold.

    Runs no code of the user's classes, and never raises.
    """
    try:
        shown = [*map(_shown, args[:_MOST_SHOWN])]
        if kwargs:
            few = islice(kwargs.items(), _MOST_SHOWN)
            shown += [f"{name}={_shown(value)}" for name, value in few]
    except Exception:
        # A class of the user's may bear the name of a built-in one, by which reprlib goes.
        return "(…)"
    more = ["…"] if len(shown) < len(args) + len(kwargs) else []
    return _cut(f"({', '.join([*shown, *more])})")


def _shown(value: Any) -> str:
    kind = type(value)
    # Most arguments are such, and reprlib takes several times as long.
    if (
        (kind is str and len(value) <= _MOST_OF_TEXT)
        or (kind is int and value.bit_length() <= _FEW)
        or kind in _SHORTEST
    ):
        return repr(value)
    return _SHORT.repr(value)


class _Short(reprlib.Repr):
    """Shows little of what is large, and of an object only its type and its fields."""

    def repr_instance(self, x: Any, level: int) -> str:
        kind = type(x)
        if isinstance(x, enum.Enum):
            return f"{kind.__qualname__}.{x.name}"
        if kind in _PLAIN:
            return repr(x)
        if isinstance(x, bytes | bytearray):
            return f"{bytes(x[:_MOST_OF_TEXT])!r}{'…' * (len(x) > _MOST_OF_TEXT)}"
        fields = _fields(x) if level > 0 else None
        if fields is None:
            return f"<{kind.__qualname__}>"
        few = islice(fields.items(), _MOST_SHOWN)
        shown = ", ".join(f"{name}={self.repr1(value, level - 1)}" for name, value in few)
        return f"{kind.__qualname__}({shown}{', …' * (len(fields) > _MOST_SHOWN)})"

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        return super().repr_dict(x, level) if len(x) <= _FEW else f"{{… {len(x)}}}"

    def repr_set(self, x: set[Any], level: int) -> str:
        return super().repr_set(x, level) if len(x) <= _FEW else f"{{… {len(x)}}}"

    def repr_frozenset(self, x: frozenset[Any], level: int) -> str:
        return super().repr_frozenset(x, level) if len(x) <= _FEW else f"{{… {len(x)}}}"


_SHORT = _Short()
_SHORT.maxlevel = 3
_SHORT.maxstring = _MOST_OF_TEXT


def _cut(text: str) -> str:
    cut = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return cut.encode(errors="backslashreplace").decode()


def _pieces(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[str]:
    yield "("
    first = True
    for value in args:
        yield "" if first else ", "
        yield from _value(value, 0)
        first = False
    for name in sorted(kwargs):
        yield f"{name}=" if first else f", {name}="
        yield from _value(kwargs[name], 0)
        first = False
    yield ",)" if len(args) == 1 and not kwargs else ")"


def _value(value: Any, depth: int) -> Iterator[str]:
    kind = type(value)
    if isinstance(value, enum.Enum):
        yield f"{kind.__qualname__}.{value.name}"
    elif isinstance(value, str | bytes | bytearray):
        yield from _text(value)
    elif kind in _PLAIN or (isinstance(value, _PLAIN) and kind.__module__ != "__main__"):
        yield repr(value)
    elif depth > _DEEPEST:
        yield f"{_OPAQUE}<{kind.__qualname__}>"
    else:
        yield from _composed(value, depth)


def _text(value: str | bytes | bytearray) -> Iterator[str]:
    if len(value) <= _LONGEST:
        yield repr(value)
        return
    data = value.encode(errors="surrogatepass") if isinstance(value, str) else value
    digest = hashlib.blake2b(data, digest_size=12).hexdigest()
    yield f"{value[:60]!r}… ({len(value)} long, {digest})"


def _composed(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, set | frozenset):
        # Its order is another in each process.
        yield from _joined("{", sorted("".join(_value(each, depth + 1)) for each in value), "}")
    elif isinstance(value, Mapping):
        pairs = ("".join((*_value(key, depth + 1), ": ", *_value(each, depth + 1)))
                 for key, each in value.items())  # fmt: skip
        yield from _joined("{", sorted(pairs), "}")
    elif isinstance(value, list | tuple):
        marks = ("[", "]") if isinstance(value, list) else ("(", ")")
        yield from _joined(
            marks[0],
            ("".join(_value(each, depth + 1)) for each in value[:_MOST_PARTS]),
            marks[1] if len(value) <= _MOST_PARTS else f", … {len(value)}{marks[1]}",
        )
    elif isinstance(value, BaseException):
        yield from _named(value, {"args": value.args}, depth)
    elif isinstance(value, _HANDLES):
        # On recovery the handle of the same workflow is of another type.
        yield f"<handle of {value.workflow_id}>"
    elif (fields := _fields(value)) is not None:
        yield from _named(value, fields, depth)
    else:
        name = getattr(value, "config_name", None)
        named = f" {name}" if isinstance(name, str) else ""
        yield f"{_OPAQUE}<{type(value).__qualname__}{named}>"


def _fields(value: Any) -> Mapping[str, Any] | None:
    """Return the fields of a record; None of anything else."""
    if isinstance(value, BaseModel):
        return dict(value.__dict__)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name, None) for each in dataclasses.fields(value)}
    attributes = getattr(type(value), "__attrs_attrs__", None)
    if attributes is not None:
        return {each.name: getattr(value, each.name, None) for each in attributes}
    return None


def _named(value: Any, fields: Mapping[str, Any], depth: int) -> Iterator[str]:
    """Show a record by its fields, unless one of them is no data: then it is none either."""
    name = type(value).__qualname__
    texts = ["".join((key, "=", *_value(each, depth + 1))) for key, each in fields.items()]
    if any(_OPAQUE in text for text in texts):
        yield f"{_OPAQUE}<{name}>"
    else:
        yield from _joined(f"{name}(", texts, ")")


def _joined(begin: str, parts: Any, end: str) -> Iterator[str]:
    yield begin
    for place, part in enumerate(parts):
        yield part if place == 0 else f", {part}"
    yield end
