"""Explorations in the process of a test: real workers, real databases, no command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aexp.crash.explorer import Explorer
from aexp.crash.judge.points import parse_point
from aexp.crash.judge.results import Exploration, PointResult
from aexp.crash.request import ExplorationRequest
from aexp.database import DatabaseUrl
from aexp.processes.loop import run_on_loop
from aexp.processes.signals import Stop
from aexp.scenarios import find_scenario
from aexp.settings import load_settings

__all__ = ["PLANTED", "explore", "promises", "struck"]

PLANTED = Path(__file__).parent / "planted"


def explore(
    server: DatabaseUrl, target: str, given: Mapping[str, str] | None = None, **options: Any
) -> Exploration:
    """Explore ``target`` on ``server``; ``options`` are those of the request."""
    normal, scenario = find_scenario(target)
    request = ExplorationRequest(
        target=normal,
        scenario=scenario,
        parameters=scenario.from_text(given or {}),
        template=server.name,
        **options,
    )
    explorer = Explorer(request, load_settings({}), server)
    return run_on_loop("uvloop", lambda: explorer.explore(Stop()))


def struck(
    server: DatabaseUrl,
    target: str,
    point: str,
    given: Mapping[str, str] | None = None,
    **options: Any,
) -> PointResult:
    """What came of one point of ``target``."""
    exploration = explore(server, target, given, replay=parse_point(point), **options)
    (result,) = exploration.results
    return result


def promises(result: PointResult) -> set[str]:
    """The names of the promises that did not hold."""
    return {verdict.name for verdict in result.broken}
