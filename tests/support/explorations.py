"""Explorations in the process of a test: real workers, real databases, no command line.

The processes that fork their workers import for seconds: one pair serves all tests of a process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from aexp.crash.experiment.workers import open_servers
from aexp.crash.explorer import Explorer
from aexp.crash.judge.points import parse_point
from aexp.crash.request import ExplorationRequest
from aexp.crash.results import Exploration, PointResult
from aexp.database import DatabaseUrl
from aexp.processes.child import ForkServer
from aexp.processes.signals import Stop
from aexp.scenarios import find_scenario
from aexp.settings import load_settings

__all__ = ["PLANTED", "explorations_ended", "explore", "promises", "struck"]

PLANTED = Path(__file__).parent / "planted"


class _Loop:
    """The loop of all explorations of this process, begun with the first of them."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._begun: tuple[BlockingPortal, Sequence[ForkServer]] | None = None

    def explore(self, make: partial[Explorer]) -> Exploration:
        if self._begun is None:
            portal = self._open.enter_context(start_blocking_portal())
            servers = self._open.enter_context(portal.wrap_async_context_manager(open_servers()))
            self._begun = portal, servers
        portal, servers = self._begun
        return portal.call(make(servers=servers).explore, Stop())

    def end(self) -> None:
        self._begun = None
        self._open.close()


_loop = _Loop()


@contextmanager
def explorations_ended() -> Iterator[None]:
    """Leave no process of explorations behind."""
    try:
        yield
    finally:
        _loop.end()


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
    return _loop.explore(partial(Explorer, request, load_settings({}), server))


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
