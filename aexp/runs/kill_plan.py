"""When to kill the processes of a run: seeded moments or steps, and at most so many."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from aexp.engine.recorder.records import Record, StepBegan, StepEnded

__all__ = ["MOST_KILLS", "KillMoment", "KillPlan", "Strike", "Striker"]

# DBOS dead-letters a workflow after 100 recoveries.
MOST_KILLS = 90
# Between the step body that a kill aims at and the kill itself, in seconds. Half of them are drawn
# evenly, half evenly by magnitude: some steps take a tenth of a second, some a millisecond.
SHORTEST_DELAY_S = 0.0002
LONGEST_DELAY_S = 0.12
# A run of so few steps may be over before a delay is: its next step is the moment at the latest.
_FEW_STEPS = 6
_MOST_UNKNOWN = 20


@dataclass(frozen=True, slots=True)
class KillMoment:
    """When to kill a process: ``delay_s`` after it has begun ``steps`` step bodies, or as soon as
    it has begun ``further`` more, so that a quick workflow does not end first.
    """

    steps: int
    delay_s: float
    further: int


@dataclass(frozen=True, slots=True)
class Strike:
    """Where a process kills itself: when so many bodies of steps have begun in it, before the last
    of them does anything, or when so many have ended, before the checkpoint of the last.
    """

    bodies: int
    at_end: bool

    def __str__(self) -> str:
        return f"{'end' if self.at_end else 'begin'}:{self.bodies}"

    @classmethod
    def parse(cls, text: str) -> Strike:
        """Return the strike that ``text`` writes. Raises ValueError."""
        side, _, bodies = text.partition(":")
        if side not in {"begin", "end"}:
            raise ValueError(f"{text!r} is no strike: write begin:N or end:N")
        return cls(int(bodies), at_end=side == "end")


class Striker:
    """Counts what is recorded in this process, in any thread, and calls ``kill`` at the strike."""

    def __init__(self, strike: Strike, kill: Callable[[], None]) -> None:
        self._kind = StepEnded if strike.at_end else StepBegan
        self._left = strike.bodies
        self._kill = kill
        self._lock = threading.Lock()

    def __call__(self, record: Record) -> None:
        """Count ``record``."""
        if isinstance(record, self._kind):
            with self._lock:
                self._left -= 1
                if self._left == 0:
                    self._kill()


@dataclass(slots=True)
class KillPlan:
    """When to kill: the same for the same seed, the same number of kills before, and as much done.

    ``steps`` is about how many step bodies the run has. None when nobody knows: then there are no
    moments but strikes, which land however quick the steps are.
    """

    kills: int
    seed: int
    steps: int | None
    landed: int = 0

    def next_moment(self, done: float = 0.0) -> KillMoment | None:
        """Draw the moment for the next process; None when all kills have landed.

        ``done`` is the share of the work that is done already, 0 to 1.
        """
        left = self.kills - self.landed
        if left <= 0 or self.steps is None:
            return None
        draw = self._draw()
        magnitude = draw.uniform(math.log(SHORTEST_DELAY_S), math.log(LONGEST_DELAY_S))
        evenly = draw.uniform(SHORTEST_DELAY_S, LONGEST_DELAY_S)
        delay_s = draw.choice([math.exp(magnitude), evenly])
        # Spread over what is left; half a share is kept back, so that the run does not end first.
        reach = max(1, int(self.steps * (1 - done) / (left + 0.5)))
        return KillMoment(
            steps=draw.randint(1, reach),
            delay_s=delay_s,
            further=draw.randint(1, max(1, self.steps - _FEW_STEPS)),
        )

    def next_strike(self) -> Strike | None:
        """Draw the strike for the next process; None when all kills have landed, and for a run that
        has moments.
        """
        if self.landed >= self.kills or self.steps is not None:
            return None
        draw = self._draw(" strike")
        # Each further body half as likely: a short run is hit, a long one not only at its
        # beginning.
        bodies = next(n for n in count(1) if draw.random() < 0.5 or n == _MOST_UNKNOWN)
        return Strike(bodies, at_end=draw.random() < 0.5)

    def _draw(self, what: str = "") -> random.Random:
        # Anew for each kill, so that none depends on how many draws there were before.
        return random.Random(f"{self.seed} {self.landed}{what}")  # noqa: S311 - guards nothing
