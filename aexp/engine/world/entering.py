"""Live in a world: what is otherwise there, and what is held as it was before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from aexp.engine.world.chance import drawn_by_seed
from aexp.engine.world.clock import clock_ahead
from aexp.engine.world.environment import elsewhere
from aexp.engine.world.order import answers_reversed, permuting_loop

__all__ = ["LATER", "LoopFactory", "WorldPlan", "entered", "loop_factory"]

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

# How much later it is where the clock is otherwise.
LATER = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldPlan:
    """The world of a process: ``changed`` names what is otherwise; all else that is drawn or
    ordered follows from ``seed``. How a set iterates is the business of whoever starts it.
    """

    seed: int
    run_id: str
    folder: str
    changed: Collection[str] = field(default_factory=tuple)


@contextmanager
def entered(plan: WorldPlan) -> Iterator[Callable[[], None]]:
    """Have this process live in that world. To be entered before user code is imported, in the
    main thread: all threads share it. What it yields is to be called once it has been.
    """
    with ExitStack() as undo:
        if "clock" in plan.changed:
            undo.enter_context(clock_ahead(LATER.total_seconds()))
        if "environment" in plan.changed:
            undo.enter_context(elsewhere(Path(plan.folder)))
        others = "others" if "random" in plan.changed else "the same"
        hold_numpy = undo.enter_context(drawn_by_seed(f"{plan.seed} {others}", plan.run_id))
        if "order" in plan.changed:
            undo.enter_context(answers_reversed())
        yield hold_numpy


def loop_factory(plan: WorldPlan) -> LoopFactory:
    """Return what makes the event loop of that world: asyncio's, on which it can be told in which
    order tasks go on.
    """
    if "order" in plan.changed:
        return permuting_loop(str(plan.seed))
    return asyncio.SelectorEventLoop
