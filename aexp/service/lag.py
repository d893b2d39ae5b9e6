"""How late the service's loop has been in the last seconds."""

from __future__ import annotations

import math
from collections import deque

from aexp.processes.loop_lag import tick

__all__ = ["LoopLag"]

INTERVAL_S = 0.05
WINDOW_S = 10.0


class LoopLag:
    """A sliding window of delays. As in :mod:`aexp.processes.loop_lag`, a stall counts once for
    each tick due.
    """

    def __init__(self) -> None:
        self._late_ms: deque[float] = deque(maxlen=round(WINDOW_S / INTERVAL_S))

    async def watch(self) -> None:
        """Measure the loop on which this runs until cancelled."""
        await tick(INTERVAL_S, lambda _due, late_ms: self._late_ms.append(late_ms))

    @property
    def p99_ms(self) -> float:
        """The delay that 99 of 100 ticks of the last ten seconds did not exceed; 0 without any."""
        ordered = sorted(self._late_ms)
        return ordered[math.ceil(0.99 * len(ordered)) - 1] if ordered else 0.0
