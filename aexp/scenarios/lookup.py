"""Find scenarios: built in, installed, or a user's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aexp.errors import InvalidTarget

if TYPE_CHECKING:
    from aexp.model.scenario import Scenario

__all__ = ["BUILT_IN", "check_target", "find_scenario", "known_scenarios"]

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


def check_target(target: str) -> str:
    """Return ``target`` such that it names the same from anywhere, and import nothing of it.

    Raises UnknownScenario, or InvalidTarget where there cannot be a module.
    """
    # With it comes DBOS, of which a name has no need.
    from aexp.scenarios.target import check_file, is_path, nearest, normalise  # noqa: PLC0415

    if is_path(target):
        check_file(target)
        return normalise(target)
    known = known_scenarios()
    if target not in known:
        if target.endswith(".py"):
            raise InvalidTarget(f"{target} names no object: write {target}:NAME")
        raise nearest(target, known)
    return target


def find_scenario(target: str) -> tuple[str, Scenario[Any]]:
    """Find the scenario that ``target`` names, and a target that finds it from anywhere.

    Imports its module: the database must have been announced (aexp.environment) where there is one,
    and no event loop may run. Raises UnknownScenario or InvalidTarget.
    """
    from aexp.scenarios.target import is_path, load_object  # noqa: PLC0415

    target = check_target(target)
    return target, load_object(target if is_path(target) else known_scenarios()[target])
