"""Find out in which world alone a replay diverges that does so where several are otherwise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

import anyio

from aexp.crash.judge.findings import Finding, FindingKey, LeastReplay, group_findings
from aexp.crash.judge.points import Point
from aexp.crash.judge.worlds import World
from aexp.crash.results import PointResult, find_sightings

__all__ = ["attribute_findings"]

# A workflow with more of them has one cause, or many to be mended one after the other.
_MOST = 6
# What shows in so many worlds alone does so by chance, which is another one in each process.
_ANY = 3
_NO_WORLD: frozenset[World] = frozenset()


async def attribute_findings(
    results: Sequence[PointResult],
    decide: Callable[[Point], Awaitable[PointResult]],
    *,
    jobs: int,
) -> Mapping[FindingKey, LeastReplay]:
    """Return for each divergence the replay that brings it out with the least of it otherwise:
    nothing, or one world, else what it was found with.
    """
    points = {result.name: result.point for result in results}
    found: dict[FindingKey, LeastReplay] = {}
    sightings = [each for result in results for each in find_sightings(result)]
    for finding in [each for each in group_findings(sightings) if each.is_broken][:_MOST]:
        point = points[finding.example.point]
        if point is not None and point.worlds:
            found[finding.key] = await _least(finding, point, decide, jobs=jobs)
    return found


async def _least(
    finding: Finding,
    point: Point,
    decide: Callable[[Point], Awaitable[PointResult]],
    *,
    jobs: int,
) -> LeastReplay:
    nothing = replace(point, worlds=_NO_WORLD)
    if _shows(finding, await decide(nothing)):
        return LeastReplay(nothing, _NO_WORLD)
    alone = [world for world in World if world in (point.worlds or ())]
    shown: set[World] = set()
    limiter = anyio.CapacityLimiter(jobs)

    async def try_alone(world: World) -> None:
        async with limiter:
            if _shows(finding, await decide(replace(point, worlds=frozenset({world})))):
                shown.add(world)

    if len(alone) == 1:
        return LeastReplay(point, frozenset(alone))
    async with anyio.create_task_group() as group:
        for world in alone:
            group.start_soon(try_alone, world)
    if len(shown) >= _ANY:
        return LeastReplay(point, _NO_WORLD)
    if not shown:
        return LeastReplay(point, None)
    least = min(shown, key=alone.index)
    return LeastReplay(replace(point, worlds=frozenset({least})), frozenset(shown))


def _shows(finding: Finding, result: PointResult) -> bool:
    """Return whether ``result`` shows a divergence of the same kind: at the same line or, as on
    another day, at another one.
    """
    return result.void is None and any(
        each.is_broken and each.code == finding.code
        for each in group_findings(find_sightings(result))
    )
