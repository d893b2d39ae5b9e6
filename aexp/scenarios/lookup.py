"""Find scenarios: built in, installed, or a user's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aexp.errors import InvalidTarget

if TYPE_CHECKING:
    from aexp.model.scenario import Scenario

__all__ = ["BUILT_IN", "find_scenario", "known_scenarios"]

ENTRY_POINT_GROUP = "aexp.scenarios"
# Name → module:object. Imported one at a time: a run of one need not pay for the others.
BUILT_IN: Mapping[str, str] = {
    "credentials": "aexp.scenarios.credentials.workflow:SCENARIO",
    "fibonacci": "aexp.scenarios.fibonacci.workflow:SCENARIO",
    "heartbeat": "aexp.scenarios.heartbeat.workflow:SCENARIO",
    "nested": "aexp.scenarios.nested.workflow:SCENARIO",
    "objects": "aexp.scenarios.objects.workflow:SCENARIO",
    "resume": "aexp.scenarios.resume.workflow:SCENARIO",
    "scope": "aexp.scenarios.scope.workflow:SCENARIO",
    "scope-functions": "aexp.scenarios.scope.functions:SCENARIO",
}


def _installed() -> dict[str, str]:
    import importlib.metadata  # noqa: PLC0415 - as long as all of click

    return {
        point.name: point.value
        for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    }


def known_scenarios() -> Mapping[str, str]:
    """Name → ``module:object`` of all scenarios that can be run by name."""
    return {**_installed(), **BUILT_IN}


def find_scenario(target: str) -> tuple[str, Scenario[Any]]:
    """Find the scenario that ``target`` names, and a target that finds it from anywhere.

    Raises UnknownScenario or InvalidTarget.
    """
    # With it comes DBOS, of which a name has no need.
    from aexp.scenarios.target import is_path, load_object, nearest, normalise  # noqa: PLC0415

    if is_path(target):
        target = normalise(target)
        return target, load_object(target)
    known = known_scenarios()
    if target not in known:
        if target.endswith(".py"):
            raise InvalidTarget(f"{target} names no object: write {target}:NAME")
        raise nearest(target, known)
    return target, load_object(known[target])
