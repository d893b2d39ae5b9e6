"""Plan the points of an exploration: those that were asked for, of all that are possible."""

from __future__ import annotations

from collections.abc import Sequence

from aexp.crash.judge.downtimes import order_deadlines
from aexp.crash.judge.durations import DEADLINES
from aexp.crash.judge.evidence import Evidence
from aexp.crash.judge.points import (
    STOPS,
    ZOMBIE_SIDES,
    Point,
    Side,
    order_downtimes,
    order_pairs,
    order_points,
    order_replays,
    order_restarts,
    sample,
)
from aexp.crash.request import ExplorationRequest, NothingToExplore
from aexp.crash.results import PointResult

__all__ = ["plan_downtimes", "plan_pairs", "plan_points", "plan_stops"]


def plan_points(
    request: ExplorationRequest, writes: Sequence[str], evidence: Evidence
) -> tuple[list[Point], int]:
    """Plan the points of single faults and wrong restarts, or the replays in other worlds, and
    count all possible ones. ``writes`` are those of the run without a fault of that ``evidence``.
    """
    if not writes:
        raise NothingToExplore(
            f"{request.scenario.name} wrote nothing that could be lost: there is no point at"
            " which to kill it (--all-writes takes the bookkeeping too)"
        )
    if request.worlds is not None:
        possible = order_replays(writes, request.worlds)
    elif request.later is not None:
        # A run that has ended, which is its last write, is not in flight.
        possible = order_points(writes[:-1] or writes, [Side.AFTER])
    else:
        possible = order_points(writes, request.sides)
    if request.replay is not None:
        return [request.replay], len(possible)
    known = [point for point in request.first if point in possible]
    others = sample(possible, request.points, request.seed)
    chosen = [*known, *(point for point in others if point not in known)]
    if request.stranded:
        instances = any(row.instance is not None for row in evidence.workflows)
        # While the root has not ended, which is its last write.
        restarts = order_restarts(writes[:-1] or writes, instances=instances)
        chosen, possible = [*chosen, *restarts], [*possible, *restarts]
    if request.zombie != 0:
        zombies = order_points(writes, ZOMBIE_SIDES)
        chosen = [*chosen, *sample(zombies, request.zombie, request.seed)]
        possible = [*possible, *zombies]
    return chosen, len(possible)


def plan_pairs(
    request: ExplorationRequest, results: Sequence[PointResult]
) -> tuple[list[Point], int]:
    """Plan second kills in the recoveries that were seen, and count all possible ones."""
    recoveries = {
        result.point: result.recovery
        for result in results
        if result.point is not None
        and result.held
        and result.point.restart is None
        and result.point.faults[-1].side.kills
    }
    if request.double == 0 or request.replay is not None:
        return [], 0
    possible = order_pairs(recoveries, request.sides)
    return sample(possible, request.double, request.seed), len(possible)


def plan_downtimes(
    request: ExplorationRequest, writes: Sequence[str], evidence: Evidence
) -> tuple[list[Point], int]:
    """Plan downtimes after a kill, and count all possible ones."""
    # What is down when the root has ended, which is its last write, has nothing left to do.
    in_flight = writes[:-1] or writes
    possible = order_downtimes(in_flight, [each for each in request.down if each != DEADLINES])
    if DEADLINES in request.down:
        possible += order_deadlines(in_flight, evidence)
    possible = list(dict.fromkeys(possible))
    if not possible or request.replay is not None:
        return [], 0
    return sample(possible, request.points, request.seed), len(possible)


def plan_stops(request: ExplorationRequest, writes: Sequence[str]) -> tuple[list[Point], int]:
    """Plan stops of the server, and count all possible ones."""
    if request.postgres == 0 or request.replay is not None:
        return [], 0
    possible = order_points(writes, STOPS)
    return sample(possible, request.postgres, request.seed), len(possible)
