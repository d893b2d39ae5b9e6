"""What few and noisy rounds allow to say.

Medians, percentile bootstrap intervals (Efron & Tibshirani, *An Introduction to the Bootstrap*,
ch. 13), and exponents by least squares on logarithms. Plain Python: the samples have five to twenty
values, for which a numerical library is an import and no gain. Draws are seeded, so the same sample
has the same interval.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Bounded", "Estimate", "Fit", "estimate", "fit_exponent"]

LEVEL = 0.95
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median and its interval.

    ``confidence`` is what the interval of so few ``rounds`` can have at most: all of n values are
    on one side of the true median with probability 2^(1-n), so that five rounds allow 0.94, three
    0.75, and one nothing.
    """

    median: float
    low: float
    high: float
    rounds: int

    @property
    def confidence(self) -> float:
        """Probability with which the interval holds the true median, LEVEL at most."""
        return attainable(self.rounds)


class Bounded(NamedTuple):
    """A value that is known to lie between ``low`` and ``high``."""

    value: float
    low: float
    high: float


class Fit(NamedTuple):
    """The exponent that y grows with, as a power of x, and its interval.

    ``steepest`` is the largest exponent between two neighbouring x: growth that sets in late shows
    there, and hardly in the whole.
    """

    exponent: float
    low: float
    high: float
    steepest: float


def attainable(rounds: int) -> float:
    """The confidence of the widest interval that ``rounds`` values give for their median."""
    return min(LEVEL, 1 - 2.0 ** (1 - rounds))


def estimate(sample: Sequence[Bounded]) -> Estimate:
    """Median of ``sample``, which has at least one value, with its interval.

    The interval reaches from that of the lower bounds to that of the upper ones.
    """
    draw = random.Random(len(sample))  # noqa: S311 - guards nothing
    lows: list[float] = []
    highs: list[float] = []
    for _ in range(RESAMPLES):
        again = draw.choices(sample, k=len(sample))
        lows.append(statistics.median(bounded.low for bounded in again))
        highs.append(statistics.median(bounded.high for bounded in again))
    return Estimate(
        median=statistics.median(bounded.value for bounded in sample),
        low=_percentile(lows, (1 - LEVEL) / 2),
        high=_percentile(highs, (1 + LEVEL) / 2),
        rounds=len(sample),
    )


def _percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.floor(share * len(ordered)))]


def fit_exponent(points: Sequence[tuple[float, float]]) -> Fit:
    """The power of x that y grows with; x and y are positive, and there are two x at least.

    The interval is that of a bootstrap of residuals: it is wide also where the points lie on no
    line at all.
    """
    logs = [(math.log(x), math.log(y)) for x, y in points]
    slope, intercept = statistics.linear_regression(*zip(*logs, strict=True))
    residuals = [y - (intercept + slope * x) for x, y in logs]
    draw = random.Random(len(points))  # noqa: S311 - guards nothing
    slopes = []
    for _ in range(RESAMPLES):
        noise = draw.choices(residuals, k=len(logs))
        again = [intercept + slope * x + shift for (x, _), shift in zip(logs, noise, strict=True)]
        slopes.append(statistics.linear_regression([x for x, _ in logs], again).slope)
    return Fit(
        exponent=slope,
        low=_percentile(slopes, (1 - LEVEL) / 2),
        high=_percentile(slopes, (1 + LEVEL) / 2),
        steepest=_steepest(logs),
    )


def _steepest(logs: Sequence[tuple[float, float]]) -> float:
    medians = [
        (x, statistics.median(y for other, y in logs if other == x))
        for x in sorted({x for x, _ in logs})
    ]
    return max(
        (y - below) / (x - before) for (before, below), (x, y) in itertools.pairwise(medians)
    )
