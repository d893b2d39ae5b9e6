"""When to kill the processes of a run: seeded moments, and at most so many."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import count

__all__ = ["MOST_KILLS", "KillMoment", "KillPlan"]

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


@dataclass(slots=True)
class KillPlan:
    """When to kill: the same for the same seed, the same number of kills before, and as much done.

    ``steps`` is about how many step bodies the run has, None when nobody knows.
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
        if left <= 0:
            return None
        # Anew for each kill, so that none depends on how many draws there were before.
        draw = random.Random(f"{self.seed} {self.landed}")  # noqa: S311 - guards nothing
        magnitude = draw.uniform(math.log(SHORTEST_DELAY_S), math.log(LONGEST_DELAY_S))
        evenly = draw.uniform(SHORTEST_DELAY_S, LONGEST_DELAY_S)
        delay_s = draw.choice([math.exp(magnitude), evenly])
        if self.steps is None:
            # Each further step half as likely: a short run is hit, a long one not only at its
            # beginning.
            steps = next(n for n in count(1) if draw.random() < 0.5 or n == _MOST_UNKNOWN)
            return KillMoment(steps, delay_s, further=1)
        # Spread over what is left; half a share is kept back, so that the run does not end first.
        reach = max(1, int(self.steps * (1 - done) / (left + 0.5)))
        return KillMoment(
            steps=draw.randint(1, reach),
            delay_s=delay_s,
            further=draw.randint(1, max(1, self.steps - _FEW_STEPS)),
        )
