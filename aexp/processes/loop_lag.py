"""How late an event loop runs what is due.

A ticker is due at a fixed pace. Every due time counts with the delay until the loop came to it, so
a stall of 100 ms counts as the twenty ticks of 5 ms that fell into it and not as one: whatever
arrives during a stall waits too. (Gil Tene calls the contrary "coordinated omission".)
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import anyio

__all__ = ["INTERVAL_S", "Histogram", "LagMonitor", "merged", "quantile", "tick"]

INTERVAL_S = 0.005

# Milliseconds, to two significant digits, as text → how many ticks were so late. As JSON it
# survives the process that measured.
Histogram = Mapping[str, int]


async def tick(interval_s: float, tell: Callable[[float, float], None]) -> None:
    """Tell, until cancelled, when each tick was due (``time.perf_counter``) and how late, in ms."""
    due = time.perf_counter() + interval_s
    while True:
        await anyio.sleep(max(0.0, due - time.perf_counter()))
        now = time.perf_counter()
        while due <= now:
            tell(due, (now - due) * 1000)
            due += interval_s


class LagMonitor:
    """Measures the loop on which :meth:`tick` runs, while :meth:`measuring` is entered."""

    def __init__(self) -> None:
        self._ticks: Counter[str] = Counter()
        self._measuring = 0
        self._since = 0.0
        self._until = 0.0
        self._measured_s = 0.0

    async def tick(self) -> None:
        """Tick until cancelled."""
        await tick(INTERVAL_S, self._count)

    def _count(self, due: float, late_ms: float) -> None:
        # Also what was due while it measured and comes to be run only now.
        if self._since <= due and (self._measuring or due < self._until):
            self._ticks[f"{late_ms:.2g}"] += 1

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Count the ticks that are due in this context. May be entered more than once at a time."""
        if not self._measuring:
            self._since = time.perf_counter()
        self._measuring += 1
        try:
            yield
        finally:
            self._measuring -= 1
            if not self._measuring:
                self._until = time.perf_counter()
                self._measured_s += self._until - self._since

    @property
    def measured_s(self) -> float:
        """Seconds for which it has measured until now."""
        running = time.perf_counter() - self._since if self._measuring else 0.0
        return self._measured_s + running

    def histogram(self) -> Histogram:
        """Return what was counted until now."""
        return dict(self._ticks)


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """Merge the ticks of several processes."""
    total: Counter[str] = Counter()
    for histogram in histograms:
        total.update(histogram)
    return dict(total)


def quantile(histogram: Histogram, share: float) -> float | None:
    """Return the delay in ms that ``share`` (0 to 1) of the ticks did not exceed, if any."""
    ordered = sorted((float(late_ms), ticks) for late_ms, ticks in histogram.items())
    rank = max(1, math.ceil(share * sum(ticks for _, ticks in ordered)))
    seen = 0
    for late_ms, ticks in ordered:
        seen += ticks
        if seen >= rank:
            return late_ms
    return None
