"""Worlds: what is otherwise for a process that goes on where another one was killed. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum

from aexp.errors import UsageError

__all__ = ["ALL_WORLDS", "World", "describe_worlds", "parse_worlds", "write_worlds"]

_SAME = "same"
_AND = "+"


class World(StrEnum):
    """One thing that is otherwise, and on which no body of a workflow may depend.

    ``clock``: it is a day later. ``random``: other random numbers and uuids are drawn. ``hashes``:
    sets of texts are iterated in another order. ``order``: tasks that are ready at once go on in
    another order, and checkpoints answer in another one. ``environment``: another time zone, host,
    working folder and locale.
    """

    CLOCK = "clock"
    RANDOM = "random"
    HASHES = "hashes"
    ORDER = "order"
    ENVIRONMENT = "environment"


ALL_WORLDS: frozenset[World] = frozenset(World)

_WHEN: Mapping[World, str] = {
    World.CLOCK: "when the clock is a day later: read the time in a step",
    World.RANDOM: "when other random numbers are drawn: draw them, and make uuids, in a step",
    World.HASHES: "when a set is iterated in another order: sort it before steps follow from it",
    World.ORDER: "when tasks or steps end in another order: start steps in a fixed order and gather"
    " them, and let no step follow from which of them ends first",
    World.ENVIRONMENT: "when the time zone, the host, the working folder or the locale is another:"
    " read these in a step, or take them as arguments",
}
_SEVERAL = "only when several of these are otherwise at once"
_ANYWHERE = (
    "in any other process, with all of this as before: it depends on the process's id, on what is"
    " in its memory, or on how long steps take, which a replay answers at once; keep what is needed"
    " in the results of steps"
)


def describe_worlds(alone: Collection[World] | None) -> str:
    """Say when a divergence shows that does so in each of the worlds ``alone``, and what to do
    about it; without any, that it shows in a process for which nothing is otherwise, and with None
    that no world brings it out alone.
    """
    if alone is None:
        return _SEVERAL
    return "; or ".join(_WHEN[world] for world in World if world in alone) or _ANYWHERE


def write_worlds(worlds: Collection[World]) -> str:
    """Return the text that :func:`parse_worlds` reads."""
    return _AND.join(world for world in World if world in worlds) or _SAME


def parse_worlds(text: str, separator: str = _AND) -> frozenset[World]:
    """Return the worlds that ``text`` names, ``same`` being none. Raises UsageError."""
    if text == _SAME:
        return frozenset()
    return frozenset(_known(name.strip()) for name in text.split(separator))


def _known(name: str) -> World:
    if name not in set(World):
        raise UsageError(f"{name!r} is no world, which are {', '.join(World)}")
    return World(name)
