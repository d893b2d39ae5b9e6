"""Points: a durable write and the side of it on which a fault strikes. Pure."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain

from aexp.crash.judge.durations import parse_duration, write_duration
from aexp.crash.judge.worlds import World, parse_worlds, write_worlds
from aexp.engine.statuses import ENDS
from aexp.engine.tables.names import DATASOURCE_OUTPUTS, OPERATION_OUTPUTS, WORKFLOW_STATUS
from aexp.errors import UsageError

__all__ = [
    "NO_FAULT",
    "SIDES",
    "STOPS",
    "ZOMBIE_SIDES",
    "Fault",
    "Point",
    "Restart",
    "Side",
    "order_downtimes",
    "order_pairs",
    "order_points",
    "order_replays",
    "order_restarts",
    "parse_point",
    "sample",
    "untried_kinds",
]

_THEN = " then "
_RESTART = "restart:"
_WORLD = "in:"
_DOWN = "down:"
_CHECKPOINTS = (f"insert {OPERATION_OUTPUTS}", f"insert {DATASOURCE_OUTPUTS}")
_OF_WORKFLOWS = f" {WORKFLOW_STATUS}"
_ENDINGS = tuple(f"update {WORKFLOW_STATUS} {status}" for status in sorted(ENDS))


class Side(StrEnum):
    """Where a fault strikes a write.

    ``before``: SIGKILL, and the write never arrives. ``after``: it is durable, SIGKILL, and the
    client never hears of it. ``lost-ack``: it is durable, the connection drops, the process lives.
    ``postgres-before`` and ``postgres-after``: PostgreSQL is stopped at once instead, and started
    again; the process lives.
    ``zombie-before`` and ``zombie-after``: SIGSTOP, and another executor takes the work over; at
    SIGCONT the write arrives, or its client hears that it was durable all along.
    """

    BEFORE = "before"
    AFTER = "after"
    LOST_ACK = "lost-ack"
    POSTGRES_BEFORE = "postgres-before"
    POSTGRES_AFTER = "postgres-after"
    ZOMBIE_BEFORE = "zombie-before"
    ZOMBIE_AFTER = "zombie-after"

    @property
    def kills(self) -> bool:
        """Whether the process is killed."""
        return self in {Side.BEFORE, Side.AFTER}

    @property
    def stops_server(self) -> bool:
        """Whether PostgreSQL is stopped."""
        return self in STOPS

    @property
    def arrives(self) -> bool:
        """Whether the write reaches the server before the fault strikes."""
        return self not in {Side.BEFORE, Side.POSTGRES_BEFORE, Side.ZOMBIE_BEFORE}


# Those of every exploration; the others take a server, or an executor, of their own.
SIDES = (Side.BEFORE, Side.AFTER, Side.LOST_ACK)
STOPS = (Side.POSTGRES_BEFORE, Side.POSTGRES_AFTER)
ZOMBIE_SIDES = (Side.ZOMBIE_BEFORE, Side.ZOMBIE_AFTER)


class Restart(StrEnum):
    """How the process that follows a killed one is not the one that should: of another application
    version, of another executor id, or without the configured instances.
    """

    VERSION = "other-version"
    EXECUTOR = "other-executor"
    INSTANCE = "no-instance"


def _kind(write: str) -> str:
    return write.rpartition("#")[0].partition(" [")[0]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault at one write, which ``write`` names with its ordinal."""

    side: Side
    write: str

    def __str__(self) -> str:
        return f"{self.side}:{self.write}"

    @property
    def kind(self) -> str:
        """What the write does, whoever does it: its name without workflow, step and ordinal."""
        return _kind(self.write)


@dataclass(frozen=True, slots=True)
class Point:
    """The faults of one experiment, in the order in which they strike.

    With a ``restart`` the process after the last of them is the wrong one; the one after it is
    right again. With ``worlds`` those after it live where these are otherwise, and all else of a
    world is held as it was for the processes before; None holds nothing. They are started
    ``down_s`` later, as far as their clock can tell.
    """

    faults: tuple[Fault, ...]
    restart: Restart | None = None
    worlds: frozenset[World] | None = None
    down_s: float | None = None

    def __str__(self) -> str:
        return _THEN.join([*map(str, self.faults), *self._afterwards()])

    def _afterwards(self) -> Sequence[str]:
        return [
            *([_RESTART + self.restart] if self.restart is not None else []),
            *([_WORLD + write_worlds(self.worlds)] if self.worlds is not None else []),
            *([_DOWN + write_duration(self.down_s)] if self.down_s is not None else []),
        ]

    @property
    def side(self) -> str:
        """The sides of its faults, how it is started again where that is wrong, and how late."""
        sides = [str(fault.side) for fault in self.faults]
        restart = [] if self.restart is None else [str(self.restart)]
        down = [] if self.down_s is None else [_DOWN + write_duration(self.down_s)]
        return _THEN.join([*sides, *restart, *down])

    @property
    def stops_server(self) -> bool:
        """Whether it takes a server that may be stopped."""
        return any(fault.side.stops_server for fault in self.faults)

    @property
    def is_zombie(self) -> bool:
        """Whether another executor takes the work over from a stopped one."""
        return any(fault.side in ZOMBIE_SIDES for fault in self.faults)

    @property
    def kind(self) -> str:
        """The kind of its last write."""
        return self.faults[-1].kind


# Of a run that is left alone.
NO_FAULT = Point(())


def parse_point(text: str) -> Point:
    """Parse the point that ``text`` names, as ``str`` of a point does. Raises UsageError."""
    parts = text.split(_THEN)
    worlds, restart, down_s = None, None, None
    if len(parts) > 1 and parts[-1].startswith(_DOWN):
        down_s = parse_duration(parts.pop().removeprefix(_DOWN))
    if len(parts) > 1 and parts[-1].startswith(_WORLD):
        worlds = parse_worlds(parts.pop().removeprefix(_WORLD))
    if len(parts) > 1 and parts[-1].startswith(_RESTART):
        name = parts.pop().removeprefix(_RESTART)
        if name not in set(Restart):
            raise UsageError(
                f"{text!r} is no point: {name!r} is no restart, which are {', '.join(Restart)}"
            )
        restart = Restart(name)
    if sum(each is not None for each in (worlds, restart, down_s)) > 1:
        raise UsageError(f"{text!r} is no point: after its faults comes one thing at most")
    point = Point(tuple(_parse_fault(part, text) for part in parts), restart, worlds, down_s)
    followed = point != Point(point.faults)
    if point.is_zombie and (len(point.faults) > 1 or followed):
        raise UsageError(f"{text!r} is no point: {point.faults[-1].side} stands alone")
    if followed and not point.faults[-1].side.kills:
        raise UsageError(
            f"{text!r} is no point: {point.faults[-1].side} kills nobody who could be restarted"
        )
    return point


def _parse_fault(part: str, text: str) -> Fault:
    side, separator, write = part.partition(":")
    name, hash_sign, ordinal = write.rpartition("#")
    if side not in set(Side) or not separator or not name or not hash_sign:
        raise UsageError(
            f"{text!r} is no point: write SIDE:WRITE#ORDINAL as `aexp crash --json` does,"
            f" SIDE being {', '.join(Side)}"
        )
    if not ordinal.isdecimal() or int(ordinal) < 1:
        raise UsageError(f"{text!r} is no point: {ordinal!r} is no ordinal, which counts from 1")
    return Fault(Side(side), write)


def order_points(writes: Iterable[str], sides: Sequence[Side]) -> list[Point]:
    """List every write on every side, in the order of the writes."""
    return [Point((Fault(side, write),)) for write in writes for side in sides]


def order_pairs(recoveries: Mapping[Point, Sequence[str]], sides: Sequence[Side]) -> list[Point]:
    """List a second kill at each write that was seen in the recovery from a first one."""
    return [
        Point((*first.faults, Fault(side, write)))
        for first, writes in recoveries.items()
        for write in writes
        for side in sides
        if side.kills
    ]


def order_restarts(writes: Sequence[str], *, instances: bool) -> list[Point]:
    """List a kill in the middle of the run with each way to start the wrong process after it."""
    middle = writes[len(writes) // 2]
    return [
        Point((Fault(Side.AFTER, middle),), restart)
        for restart in Restart
        if instances or restart is not Restart.INSTANCE
    ]


def order_downtimes(writes: Iterable[str], downtimes: Sequence[float]) -> list[Point]:
    """List a kill after each write, with each downtime in seconds after it."""
    return [
        Point((Fault(Side.AFTER, write),), down_s=down_s)
        for down_s in downtimes
        for write in writes
    ]


def order_replays(writes: Iterable[str], worlds: frozenset[World]) -> list[Point]:
    """List the cuts of a history: after each checkpoint, and before the end of each workflow, which
    all of its checkpoints then answer; what goes on there lives where ``worlds`` are otherwise.

    At an end it is tried once more without another order: what a history has may be just that.
    """
    cuts = []
    for write in writes:
        kind = _kind(write)
        if kind.startswith(_ENDINGS):
            orders = dict.fromkeys((worlds, worlds - {World.ORDER}))
            cuts += [Point((Fault(Side.BEFORE, write),), worlds=each) for each in orders]
        elif any(name in kind for name in _CHECKPOINTS):
            cuts.append(Point((Fault(Side.AFTER, write),), worlds=worlds))
    return cuts


def sample(points: Sequence[Point], most: int | None, seed: int) -> list[Point]:
    """Choose at most ``most`` of ``points``, in their order; the same ones for the same seed.

    Every kind of write is there before any comes a second time, as far as ``most`` goes: what steps
    do before what DBOS notes of workflows.
    """
    if most is None or most >= len(points):
        return list(points)
    draw = random.Random(f"crash {seed}")  # noqa: S311 - guards nothing
    by_kind: dict[str, list[int]] = {}
    for place, point in enumerate(points):
        by_kind.setdefault(point.kind, []).append(place)
    for places in by_kind.values():
        draw.shuffle(places)
    kinds = list(by_kind.values())
    draw.shuffle(kinds)
    kinds.sort(key=lambda places: _OF_WORKFLOWS in points[places[0]].kind)
    longest = max(map(len, kinds))
    in_turn = chain.from_iterable(
        (places[turn] for places in kinds if turn < len(places)) for turn in range(longest)
    )
    chosen = [place for place, _ in zip(in_turn, range(most), strict=False)]
    return [points[place] for place in sorted(chosen)]


def untried_kinds(writes: Iterable[str], points: Iterable[Point]) -> Mapping[str, int]:
    """Count the writes of each kind that no fault of ``points`` strikes, in their order."""
    tried = {fault.kind for point in points for fault in point.faults}
    kinds = Counter(map(_kind, writes))
    return {kind: number for kind, number in kinds.items() if kind not in tried}
