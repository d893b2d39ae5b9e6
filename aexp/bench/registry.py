"""The workloads: those that come along, or one of somebody's own as MODULE:NAME."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from aexp.bench.workload import Workload
from aexp.bench.workloads import BUILT_IN
from aexp.errors import InvalidTarget, UsageError
from aexp.target import is_path, load_attribute, normalise

__all__ = ["find_workload", "known_workloads"]


def find_workload(target: str) -> tuple[str, Workload]:
    """The workload that ``target`` names, and the target in a form that finds it from anywhere.

    Raises UsageError.
    """
    if is_path(target):
        target = normalise(target)
        found = load_attribute(target)
        if not isinstance(found, Workload):
            raise InvalidTarget(f"{target} is no aexp.bench.workload.Workload")
        return target, found
    if target not in BUILT_IN:
        close = difflib.get_close_matches(target, list(BUILT_IN), n=1, cutoff=0.6)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(BUILT_IN)}"
        raise UsageError(f"unknown workload {target!r}: {hint}")
    found = load_attribute(BUILT_IN[target])
    assert isinstance(found, Workload)
    return target, found


def known_workloads() -> Sequence[str]:
    """The names of those that come along, in the order in which they are shown."""
    return list(BUILT_IN)
