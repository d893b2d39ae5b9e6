"""Points: a durable write and the side of it on which a fault strikes. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain

from aexp.errors import UsageError

__all__ = ["Fault", "Point", "Side", "order_points", "parse_point", "sample"]

_THEN = " then "


class Side(StrEnum):
    """Where a fault strikes a write.

    ``before``: SIGKILL, and the write never arrives. ``after``: it is durable, SIGKILL, and the
    client never hears of it. ``lost-ack``: it is durable, the connection drops, the process lives.
    """

    BEFORE = "before"
    AFTER = "after"
    LOST_ACK = "lost-ack"

    @property
    def kills(self) -> bool:
        """Whether the process is killed."""
        return self is not Side.LOST_ACK


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
        return self.write.rpartition("#")[0].partition(" [")[0]


@dataclass(frozen=True, slots=True)
class Point:
    """The faults of one experiment, in the order in which they strike."""

    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        return _THEN.join(map(str, self.faults))

    @property
    def side(self) -> str:
        """The sides of its faults."""
        return _THEN.join(fault.side for fault in self.faults)

    @property
    def kind(self) -> str:
        """The kind of its last write."""
        return self.faults[-1].kind


def parse_point(text: str) -> Point:
    """The point that ``text`` names, as ``str`` of a point does. Raises UsageError."""
    return Point(tuple(_parse_fault(part, text) for part in text.split(_THEN)))


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
    """Every write on every side, in the order of the writes."""
    return [Point((Fault(side, write),)) for write in writes for side in sides]


def sample(points: Sequence[Point], most: int | None, seed: int) -> list[Point]:
    """At most ``most`` of ``points``, in their order; the same ones for the same seed.

    Every kind of write is there before any comes a second time, as far as ``most`` goes.
    """
    if most is None or most >= len(points):
        return list(points)
    draw = random.Random(f"crash {seed}")  # noqa: S311 - guards nothing
    by_kind: dict[tuple[str, str], list[int]] = {}
    for place, point in enumerate(points):
        by_kind.setdefault((point.kind, point.side), []).append(place)
    for places in by_kind.values():
        draw.shuffle(places)
    kinds = list(by_kind.values())
    draw.shuffle(kinds)
    longest = max(map(len, kinds))
    in_turn = chain.from_iterable(
        (places[turn] for places in kinds if turn < len(places)) for turn in range(longest)
    )
    chosen = [place for place, _ in zip(in_turn, range(most), strict=False)]
    return [points[place] for place in sorted(chosen)]
