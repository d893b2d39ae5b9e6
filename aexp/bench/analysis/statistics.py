"""What few and noisy rounds allow to say.

Medians with exact intervals from order statistics (Conover, *Practical Nonparametric Statistics*,
ch. 3.2), since a percentile bootstrap of seven values would take the second from either end, which
hold the median in 87 cases of a hundred and not in 95; and exponents by least squares on logarithms
with bootstrap intervals (Efron & Tibshirani, *An Introduction to the Bootstrap*, ch. 9). Plain
Python: the samples have five to twenty values, for which a numerical library is an import and no
gain. Draws are seeded, so the same sample has the same interval.
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

    It lies between two of the values, so that ``confidence`` is a little above LEVEL, or what the
    widest interval of few ``rounds`` has: all of n values are on one side of the true median with
    probability 2^(1-n), so that five rounds allow 0.94, three 0.75, and one nothing.
    """

    median: float
    low: float
    high: float
    rounds: int

    @property
    def confidence(self) -> float:
        """Probability with which the interval holds the true median."""
        return coverage(self.rounds, _place(self.rounds))


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


def coverage(rounds: int, place: int) -> float:
    """Return how likely the true median lies between the values in this place from either end, 1
    being the outermost, of ``rounds`` values.
    """
    beyond = sum(math.comb(rounds, fewer) for fewer in range(place))
    return 1.0 - beyond * 2.0 ** (1 - rounds)


def _place(rounds: int) -> int:
    """Return the innermost place that has LEVEL, or the outermost where none has."""
    places = range(1, rounds // 2 + 1)
    return max((place for place in places if coverage(rounds, place) >= LEVEL), default=1)


def estimate(sample: Sequence[Bounded]) -> Estimate:
    """Estimate the median of ``sample``, which has at least one value, with its interval.

    The interval reaches from that of the lower bounds to that of the upper ones.
    """
    place = _place(len(sample))
    return Estimate(
        median=statistics.median(bounded.value for bounded in sample),
        low=sorted(bounded.low for bounded in sample)[place - 1],
        high=sorted(bounded.high for bounded in sample)[-place],
        rounds=len(sample),
    )


def _percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.floor(share * len(ordered)))]


def fit_exponent(points: Sequence[tuple[float, float]]) -> Fit:
    """Fit the power of x that y grows with; x and y are positive, and there are at least two x.

    The interval is that of a bootstrap of residuals, which are as much too small as a line that
    was fitted to them makes them: it is wide also where the points lie on no line at all.
    """
    logs = [(math.log(x), math.log(y)) for x, y in points]
    slope, intercept = statistics.linear_regression(*zip(*logs, strict=True))
    spread = math.sqrt(len(logs) / max(1, len(logs) - 2))
    residuals = [spread * (y - (intercept + slope * x)) for x, y in logs]
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
