"""Speak of an experiment's workflows as of those of any other.

Each experiment's run has an id of its own, so that what its workflows derive from theirs, such as
the key of a payment, is known nowhere outside from another experiment. For a comparison the id is
as good as ``~``, as in the names of writes, and so is the address of a stub as its variable.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

__all__ = ["make_relative"]

_T = TypeVar("_T")
_ANY_RUN = "~"


def make_relative(value: _T, run_id: str, addresses: Mapping[str, str] | None = None) -> _T:
    """Return ``value`` with ``~`` for the run's id in every text of it, and for each of
    ``addresses`` its name: in containers, dataclasses and pydantic models at any depth. What has
    nothing to replace is returned as it is.
    """
    names = {run_id: _ANY_RUN, **(addresses or {})}
    pattern = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, names))})(?!\w)")
    replaced: _T = _Replacement(lambda text: pattern.sub(lambda found: names[found[1]], text)).of(
        value
    )
    return replaced


class _Replacement:
    """Replaces in values that may contain themselves."""

    def __init__(self, replace: Callable[[str], str]) -> None:
        self._replace = replace
        self._open: set[int] = set()

    def of(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._replace(value) if type(value) is str else value
        if id(value) in self._open:
            return value
        self._open.add(id(value))
        try:
            return self._inside(value)
        finally:
            self._open.discard(id(value))

    def _inside(self, value: Any) -> Any:
        kind = type(value)
        if kind is dict:
            new = {self.of(key): self.of(item) for key, item in value.items()}
            return new if any(a is not b for a, b in _pairs(new, value)) else value
        if kind in {list, tuple, set, frozenset}:
            items = [self.of(item) for item in value]
            same = all(a is b for a, b in zip(items, value, strict=True))
            return value if same else kind(items)
        if isinstance(value, BaseModel):
            return self._with(value, list(type(value).model_fields))
        if is_dataclass(value) and not isinstance(value, type):
            return self._with(value, [field.name for field in fields(value)])
        return value

    def _with(self, value: Any, names: list[str]) -> Any:
        """Return ``value``, or a copy with other attributes: without its own ``__init__``, which
        may take something else.
        """
        known = {name: getattr(value, name) for name in names if hasattr(value, name)}
        new = {name: self.of(item) for name, item in known.items()}
        changed = [name for name in new if new[name] is not known[name]]
        if not changed:
            return value
        copied = copy.copy(value)
        for name in changed:
            object.__setattr__(copied, name, new[name])
        return copied


def _pairs(new: dict[Any, Any], old: dict[Any, Any]) -> list[tuple[Any, Any]]:
    return [
        *zip(new.keys(), old.keys(), strict=False),
        *zip(new.values(), old.values(), strict=False),
    ]
