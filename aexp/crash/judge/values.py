"""Compare values part by part: which parts of two differ, and which parts are never steady. Pure.

A part is named by its path, ``['order']['at']`` or ``[*].price``: the places of a list are one
part, since an experiment may find any of them otherwise. Those of a tuple are parts of their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, TypeAlias

from pydantic import BaseModel

from aexp.engine.stored import load_stored

__all__ = [
    "EVERYWHERE",
    "NO_VALUE",
    "Path",
    "StoredValue",
    "Unsteady",
    "differences",
    "find_unsteady",
]

Path: TypeAlias = tuple[str, ...]

# The path of the value itself.
EVERYWHERE: Path = ()

_DEEPEST = 40


@dataclass(frozen=True, slots=True)
class StoredValue:
    """A value as DBOS stores it; its ``text`` is None where it is too large to be compared by its
    parts, its ``digest`` where there is no value.
    """

    digest: str | None
    text: str | None = None
    serialization: str | None = None

    def differences(self, other: StoredValue) -> frozenset[Path]:
        """Return the paths at which the two differ."""
        if self.digest == other.digest:
            return frozenset()
        if self.text is None or other.text is None:
            return frozenset({EVERYWHERE})
        return differences(self.load(), other.load())

    def load(self) -> Any:
        """Return the value, None where it is too large; as it is stored where it cannot be read."""
        if self.text is None:
            return None
        try:
            return load_stored(self.text, self.serialization)
        except (Exception, SystemExit):
            # What cannot be read here is as it is stored, and equal only to the like.
            return self.text

    def __str__(self) -> str:
        return "nothing" if self.digest is None else repr(self.load()) if self.text else "…"


NO_VALUE = StoredValue(None)


@dataclass(frozen=True, slots=True)
class Unsteady:
    """The parts of a value that differ from run to run without any fault."""

    paths: frozenset[Path] = field(default_factory=frozenset)

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the value is steady."""
        return EVERYWHERE in self.paths

    def beyond(self, found: Iterable[Path]) -> list[Path]:
        """Return those of ``found`` that lie in no unsteady part, in order."""
        return sorted(path for path in found if not self._covers(path))

    def _covers(self, path: Path) -> bool:
        return any(path[:length] in self.paths for length in range(len(path) + 1))


def find_unsteady(differing: Iterable[Iterable[Path]]) -> Unsteady:
    """Unite the differences between runs without a fault."""
    return Unsteady(frozenset(path for paths in differing for path in paths))


def differences(one: Any, other: Any) -> frozenset[Path]:
    """Return the paths at which two values differ; none when they are equal.

    What has no equality of its own is compared by its state, a NaN is equal to itself.
    """
    return frozenset(_differences(one, other, EVERYWHERE))


def _differences(one: Any, other: Any, path: Path) -> Iterable[Path]:
    if _equal(one, other):
        return
    ours, theirs = _parts(one), _parts(other)
    if (
        ours is None
        or theirs is None
        or type(one) is not type(other)
        or [name for name, _ in ours] != [name for name, _ in theirs]
        or len(path) >= _DEEPEST
    ):
        yield path
        return
    for (name, mine), (_, its) in zip(ours, theirs, strict=True):
        yield from _differences(mine, its, (*path, name))


def _equal(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    try:
        if one == other:
            return True
    except Exception:
        # An array, say, whose comparison has no truth: its text decides.
        return repr(one) == repr(other)
    # A NaN is not equal to itself.
    return isinstance(one, float | complex) and repr(one) == repr(other)


def _parts(value: Any) -> list[tuple[str, Any]] | None:
    """Return the named parts of ``value``; None when it has none that can be told apart."""
    if isinstance(value, Mapping):
        # By name: a mapping has no order.
        return sorted(((f"[{key!r}]", part) for key, part in value.items()), key=itemgetter(0))
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return [(f"[{place}]", part) for place, part in enumerate(value)]
    if isinstance(value, list):
        return [("[*]", part) for part in value]
    if isinstance(value, BaseException):
        return [(".args", value.args), *_state(value)]
    names = getattr(value, "_fields", None)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [each.name for each in dataclasses.fields(value)]
    if names is not None:
        return [(f".{name}", getattr(value, name, None)) for name in names]
    has_equality = getattr(type(value), "__eq__", None) is not getattr(object, "__eq__", None)
    return _state(value) if isinstance(value, BaseModel) or not has_equality else None


def _state(value: Any) -> list[tuple[str, Any]]:
    found = {**getattr(value, "__dict__", {})}
    for owner in type(value).__mro__:
        slots = owner.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name) and name not in {"__dict__", "__weakref__"}:
                found[name] = getattr(value, name)
    return [(f".{name}", found[name]) for name in sorted(found)]
