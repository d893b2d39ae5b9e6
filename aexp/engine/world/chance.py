"""Random numbers that are drawn again, or that are others.

Each body of a workflow, and each step, draws from a stream of its own: a replay does not run the
steps that it has checkpoints of, and draws all the same what was drawn before. What DBOS, aexp and
what they are made of draw is none of it: a token that fences a process must not come twice.
"""

from __future__ import annotations

import importlib
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from dbos import DBOS

from aexp.engine.recorder.replaced import replaced
from aexp.engine.recorder.sites import caller

__all__ = ["drawn_by_seed"]

_BYTE = 8
_SEED_BITS = 32


@contextmanager
def drawn_by_seed(seed: str, run_id: str) -> Iterator[Callable[[], None]]:
    """Have what user code draws follow from ``seed``, the workflow and the step: by ``random``,
    ``uuid.uuid4``, ``secrets``, ``os.urandom`` and what is made of these. What it yields does the
    same for ``numpy.random``, once user code has imported numpy: it brings none along.
    """
    streams: dict[tuple[str | None, int | None, str], random.Random] = {}

    def stream() -> random.Random:
        workflow_id = DBOS.workflow_id
        relative = workflow_id.replace(run_id, "~") if workflow_id is not None else None
        whose = (relative, DBOS.step_id, caller(()))
        if whose not in streams:
            streams[whose] = random.Random(f"{seed} {whose}")  # noqa: S311 - it is to be foreseen
        return streams[whose]

    drawing = _Streams(stream)
    with ExitStack() as undo:
        undo.enter_context(replaced(os, "urandom", _urandom(stream)))
        undo.enter_context(replaced(random, "_urandom", os.urandom))
        for name in random.__all__:
            if callable(getattr(drawing, name, None)):
                undo.enter_context(replaced(random, name, getattr(drawing, name)))

        def hold_numpy() -> None:
            if "numpy" in sys.modules:
                undo.enter_context(_numpy_drawn(stream))

        yield hold_numpy


@contextmanager
def _numpy_drawn(stream: Callable[[], random.Random]) -> Iterator[None]:
    """Have numpy's own generator, and one that is made without a seed, draw from streams, too."""
    numpy = importlib.import_module("numpy.random")
    states: dict[int, Any] = {}
    make = numpy.default_rng

    def state() -> Any:
        ours = stream()
        if id(ours) not in states:
            states[id(ours)] = numpy.RandomState(ours.getrandbits(_SEED_BITS))
        return states[id(ours)]

    def default_rng(seed: Any = None) -> Any:
        return make(stream().getrandbits(_SEED_BITS) if seed is None else seed)

    def drawing(name: str) -> Callable[..., Any]:
        def draw(*given: Any, **how: Any) -> Any:
            return getattr(state(), name)(*given, **how)

        return draw

    with ExitStack() as undo:
        undo.enter_context(replaced(numpy, "default_rng", default_rng))
        for name in dir(numpy.RandomState):
            if not name.startswith("_") and name in vars(numpy):
                undo.enter_context(replaced(numpy, name, drawing(name)))
        yield


class _Streams(random.Random):
    """Draws from whatever stream is that of the caller."""

    def __init__(self, stream: Callable[[], random.Random]) -> None:
        self._stream: Callable[[], random.Random] | None = None
        super().__init__()
        self._stream = stream

    def random(self) -> float:
        assert self._stream is not None
        return self._stream().random()

    def getrandbits(self, bits: int, /) -> int:
        assert self._stream is not None
        return self._stream().getrandbits(bits)

    def seed(self, *given: Any, **how: Any) -> None:
        if self._stream is not None:
            self._stream().seed(*given, **how)

    def getstate(self) -> tuple[Any, ...]:
        assert self._stream is not None
        return self._stream().getstate()

    def setstate(self, state: tuple[Any, ...]) -> None:
        assert self._stream is not None
        self._stream().setstate(state)


def _urandom(stream: Callable[[], random.Random]) -> Callable[[int], bytes]:
    original = os.urandom

    def urandom(size: int, /) -> bytes:
        if caller(()) != "own":
            return original(size)
        return stream().getrandbits(size * _BYTE).to_bytes(size, "big") if size else b""

    return urandom
