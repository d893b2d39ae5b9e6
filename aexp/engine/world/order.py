"""Tasks and steps that go on in another order than before.

An event loop permutes the tasks that are ready at once, and checkpoints answer the later the lower
their number is.

asyncio promises that callbacks run in the order in which they were scheduled, and right code relies
on it: tasks begin in the order in which they were made, and draw the numbers of their steps so.
Nothing is promised of the order in which tasks go on whose futures are done.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from dbos import _core

from aexp.engine.recorder.replaced import replaced

__all__ = ["answers_reversed", "permuting_loop"]

# Steps that were begun at once have numbers side by side: so many of them answer in the other
# order, each so much later than the one after it.
_BESIDE = 6
_LATER_S = 0.015


@contextmanager
def answers_reversed() -> Iterator[None]:
    """Have steps that were begun at once, and are answered at once, be so in the order of their
    numbers from the last one to the first.
    """
    original = _core.invoke_step

    @functools.wraps(original)
    def invoke_step(dbos: Any, step_ctx: Any, *args: Any, **kwargs: Any) -> Any:
        late_s = (_BESIDE - 1 - step_ctx.function_id % _BESIDE) * _LATER_S
        outcome = original(dbos, step_ctx, *args, **kwargs)
        if inspect.iscoroutine(outcome):
            return _answer_late(outcome, late_s)
        time.sleep(late_s)
        return outcome

    with replaced(_core, "invoke_step", invoke_step):
        yield


async def _answer_late(outcome: Coroutine[Any, Any, Any], late_s: float) -> Any:
    try:
        return await outcome
    finally:
        await asyncio.sleep(late_s)


def permuting_loop(seed: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes a loop that permutes by ``seed`` what wakes up at once."""
    return lambda: _PermutingLoop(random.Random(seed))  # noqa: S311 - it is to be foreseen


class _PermutingLoop(asyncio.SelectorEventLoop):
    """Permutes the wakeups of tasks among what is ready; all else keeps its place."""

    # CPython's loop keeps there what is ready.
    _ready: deque[asyncio.Handle]

    def __init__(self, draw: random.Random) -> None:
        super().__init__()
        self._draw = draw

    def _run_once(self) -> None:
        places = [place for place, handle in enumerate(self._ready) if _is_wakeup(handle)]
        if len(places) > 1:
            woken = [self._ready[place] for place in places]
            self._draw.shuffle(woken)
            for place, handle in zip(places, woken, strict=True):
                self._ready[place] = handle
        super()._run_once()  # type: ignore[misc]


def _is_wakeup(handle: Any) -> bool:
    """Return whether ``handle`` goes on with a task that waited for a future."""
    callback = handle._callback  # noqa: SLF001 - nobody else says it
    # As the tasks of C, and those of Python, call it.
    return getattr(callback, "__name__", "") in {"task_wakeup", "__wakeup"}
