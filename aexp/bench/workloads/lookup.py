"""The workloads: those that come along, or one of somebody's own as MODULE:NAME."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from aexp.bench.workload import Workload
from aexp.bench.workloads import BUILT_IN
from aexp.errors import InvalidTarget, UsageError
from aexp.scenarios.target import is_path, load_attribute, normalise

__all__ = ["find_workload", "growth_workloads", "known_workloads"]

# Measured with --scale, or by name.
_GROWTH: Mapping[str, str] = {
    f"growth-{name.lower()}": f"aexp.bench.workloads.growth:{name}"
    for name in ("MESSAGES", "WORKERS", "CONCURRENCY", "PUBLISHED", "WORKFLOWS")
}


def find_workload(target: str) -> tuple[str, Workload]:
    """Find the workload that ``target`` names, and a target that finds it from anywhere.

    Raises UsageError.
    """
    if is_path(target):
        target = normalise(target)
        found = load_attribute(target)
        if not isinstance(found, Workload):
            raise InvalidTarget(f"{target} is no aexp.bench.workload.Workload")
        return target, found
    known = {**BUILT_IN, **_GROWTH}
    if target not in known:
        close = difflib.get_close_matches(target, list(known), n=1, cutoff=0.6)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
        raise UsageError(f"unknown workload {target!r}: {hint}")
    found = load_attribute(known[target])
    assert isinstance(found, Workload)
    return target, found


def known_workloads() -> tuple[str, ...]:
    """Return the names of the built-in workloads, in the order in which they are shown."""
    return tuple(BUILT_IN)


def growth_workloads() -> tuple[str, ...]:
    """Return the names of the workloads that show how cost grows."""
    return tuple(_GROWTH)
