"""A divergence is laid to the least that brings it out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from aexp.crash.attribution import attribute_findings
from aexp.crash.judge.points import Fault, Point, Side
from aexp.crash.judge.worlds import ALL_WORLDS, World, describe_worlds
from aexp.crash.results import PointResult
from aexp.model.promise import Anomaly, Verdict

POINT = Point((Fault(Side.AFTER, "insert dbos.operation_outputs [~:1]#1"),), worlds=ALL_WORLDS)
CLOCK, ORDER = frozenset({World.CLOCK}), frozenset({World.ORDER})


def result(point: Point, kind: str = "other_step", *, diverges: bool = True) -> PointResult:
    anomalies = [Anomaly("it diverges", kind=kind)] if diverges else []
    return PointResult(point, [Verdict("same_steps", "it does not", anomalies)])


async def least(
    shows: Callable[[frozenset[World]], bool], point: Point = POINT, kind: str = "other_step"
) -> tuple[frozenset[World] | None, frozenset[World] | None]:
    """The worlds of the replay that is told, and those that are named."""

    async def decide(tried: Point) -> PointResult:
        assert tried.worlds is not None
        return result(tried, kind, diverges=shows(tried.worlds))

    found = await attribute_findings([result(point)], decide, jobs=2)
    (only,) = found.values()
    return only.point.worlds, only.alone


@pytest.mark.asyncio
async def test_what_shows_in_any_process_is_laid_to_no_world() -> None:
    assert await least(lambda _: True) == (frozenset(), frozenset())


@pytest.mark.asyncio
async def test_what_one_world_brings_out_alone_is_laid_to_it() -> None:
    assert await least(lambda worlds: World.ORDER in worlds) == (ORDER, ORDER)


@pytest.mark.asyncio
async def test_what_two_worlds_bring_out_each_is_laid_to_both() -> None:
    assert await least(lambda worlds: bool(worlds & (CLOCK | ORDER))) == (CLOCK, CLOCK | ORDER)


@pytest.mark.asyncio
async def test_what_takes_several_worlds_is_told_so() -> None:
    assert await least(lambda worlds: len(worlds) > 1) == (ALL_WORLDS, None)
    assert "several of these" in describe_worlds(None)


@pytest.mark.asyncio
async def test_what_comes_and_goes_by_chance_is_laid_to_no_world() -> None:
    assert await least(lambda worlds: len(worlds) == 1) == (ALL_WORLDS, frozenset())


@pytest.mark.asyncio
async def test_another_kind_of_divergence_is_not_the_same() -> None:
    assert await least(lambda _: True, kind="result_differs") == (ALL_WORLDS, None)


@pytest.mark.asyncio
async def test_the_only_world_is_not_tried_again() -> None:
    assert await least(lambda _: False, replace(POINT, worlds=CLOCK)) == (CLOCK, CLOCK)
