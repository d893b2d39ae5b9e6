"""What a bench came to: its cells, the figures of each variant, and the comparisons.

A figure stands with its interval, and a comparison is made of pairs: both of a pair were measured
in the same round, minutes at most apart, so that what slows the machine for a while slows both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from aexp.bench.analysis.outlook import Outlook
from aexp.bench.analysis.statistics import Bounded, Estimate, Fit, estimate, fit_exponent
from aexp.bench.measure.machine import BUSY
from aexp.bench.workload import Comparison, Size, Variant, Workload
from aexp.errors import AexpError

__all__ = [
    "VERSION",
    "CellResult",
    "Compared",
    "Growth",
    "Measured",
    "Result",
    "Summary",
    "TargetVerdict",
    "compare",
    "summarise",
]

VERSION = 1
_FEW_POINTS, _FEW_PLACES = 6, 3
_SURE = 0.9
TargetVerdict = Literal["met", "missed", "undecided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """What came of one cell.

    ``failure`` says why it is no result: what its check found, or how its process ended. Without
    one there are ``figures``, and ``measured`` is what they were made of.
    """

    workload: str
    variant: str
    round_no: int
    size: Size
    units: int = 0
    figures: Mapping[str, float] | None = None
    measured: Mapping[str, Any] | None = None
    failure: str | None = None

    @property
    def others(self) -> float:
        """The share of the machine, 0 to 1, that others took meanwhile, if it was much."""
        share: float = self.measured["others"] if self.measured else 0.0
        return share if share > BUSY else 0.0

    def bounded(self, figure: str) -> Bounded | None:
        """Return a figure, with its best and worst value on a machine that is not shared.

        Where others took a share, work may have taken up to that share longer than it needs.
        None when there is no such figure.
        """
        value = (self.figures or {}).get(figure)
        if value is None:
            return None
        left = max(0.1, 1 - self.others)
        if figure == "rate" or figure.endswith("_per_s"):
            return Bounded(value, value, value / left)
        if figure.endswith(("_s", "_ms")) and not figure.endswith("cpu_ms"):
            return Bounded(value, value * left, value)
        return Bounded(value, value, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A variant, and its figures over all rounds."""

    variant: Variant
    size: Size
    figures: Mapping[str, Estimate]

    def as_json(self) -> dict[str, Any]:
        """Return the figures of the variant as JSON values."""
        point = self.variant.point
        where = {"series": point.series, "x": point.at(self.size)} if point is not None else None
        return {
            "name": self.variant.name,
            "loop": self.variant.loop,
            "size": dict(self.size),
            "point": where,
            "figures": {name: _told(found) for name, found in self.figures.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A comparison and what came of it; ``estimate`` is None when no round had both cells."""

    comparison: Comparison
    estimate: Estimate | None

    @property
    def verdict(self) -> TargetVerdict | None:
        """Whether the target is met; None without a target.

        Undecided unless the whole interval is on one side, and there are rounds enough for one:
        fewer than five give no interval in which the median is likely to be.
        """
        least, most = self.comparison.least, self.comparison.most
        if least is None and most is None:
            return None
        found = self.estimate
        if found is None or found.confidence < _SURE:
            return "undecided"
        if (least is not None and found.high < least) or (most is not None and found.low > most):
            return "missed"
        if (least is None or found.low >= least) and (most is None or found.high <= most):
            return "met"
        return "undecided"

    def as_json(self) -> dict[str, Any]:
        """Return the comparison and what was found as JSON values."""
        wanted, found = self.comparison, self.estimate
        return {
            **asdict(wanted),
            "how": wanted.how,
            "found": _told(found) if found is not None else None,
            "verdict": self.verdict,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """With which power of x a figure grows along a series of a workload's curve."""

    series: str
    figure: str
    points: int
    places: int
    fit: Fit
    most: float

    @property
    def verdict(self) -> TargetVerdict:
        """Whether the exponent is within its target, by its interval and between all neighbours:
        what a small x costs once makes any growth look slower.

        Undecided when there are so few points, or places on x, that any line goes through them.
        """
        if self.points < _FEW_POINTS or self.places < _FEW_PLACES:
            return "undecided"
        if self.fit.high <= self.most and self.fit.steepest <= self.most:
            return "met"
        return "missed" if self.fit.low > self.most else "undecided"

    def as_json(self) -> dict[str, Any]:
        """Return the fit as JSON values."""
        about = {"series": self.series, "figure": self.figure, "points": self.points}
        return {**about, "most": self.most, **self.fit._asdict(), "verdict": self.verdict}


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A workload, its variants, comparisons, and how its cost grows."""

    target: str
    workload: Workload
    measured: Sequence[Measured]
    compared: Sequence[Compared]
    growths: Sequence[Growth]

    def as_json(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        return {
            "name": self.workload.name,
            "target": self.target,
            "summary": self.workload.summary,
            "unit": self.workload.unit,
            "headline": self.workload.headline,
            "variants": [found.as_json() for found in self.measured],
            "comparisons": [found.as_json() for found in self.compared],
            "curve": asdict(self.workload.curve) if self.workload.curve is not None else None,
            "growths": [found.as_json() for found in self.growths],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All that a bench came to. ``circumstances`` are JSON values that say how it was made, and
    ``failure`` is what ended it before its time.
    """

    circumstances: Mapping[str, Any]
    summaries: Sequence[Summary]
    outlooks: Sequence[Outlook]
    cells: Sequence[CellResult]
    failure: AexpError | None = None

    @property
    def failed(self) -> Sequence[CellResult]:
        """The cells that are no result."""
        return [cell for cell in self.cells if cell.failure is not None]

    @property
    def busy(self) -> Sequence[CellResult]:
        """The cells during which others took much of the machine."""
        return [cell for cell in self.cells if cell.others]

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "version": VERSION,
            **self.circumstances,
            "busy_cells": len(self.busy),
            "failed_cells": len(self.failed),
            "workloads": [summary.as_json() for summary in self.summaries],
            "outlooks": [looked.as_json() for looked in self.outlooks],
            "cells": [asdict(cell) for cell in self.cells],
        }


def _told(found: Estimate) -> dict[str, Any]:
    return {**asdict(found), "confidence": found.confidence}


def summarise(target: str, workload: Workload, cells: Sequence[CellResult]) -> Summary:
    """Summarise those of ``cells`` that are results of ``workload``: figures and comparisons."""
    good = [cell for cell in cells if cell.workload == workload.name and cell.failure is None]
    measured = []
    for variant in workload.variants:
        mine = [cell for cell in good if cell.variant == variant.name]
        if mine:
            figures = _figures(mine)
            measured.append(Measured(variant=variant, size=mine[0].size, figures=figures))
    ran = {cell.variant for cell in cells if cell.workload == workload.name}
    compared = [
        Compared(comparison=wanted, estimate=compare(wanted, good))
        for wanted in workload.comparisons
        # What --quick leaves out is not compared.
        if {wanted.variant, wanted.against or wanted.variant} <= ran
    ]
    return Summary(
        target=target,
        workload=workload,
        measured=measured,
        compared=compared,
        growths=list(_growths(workload, good)),
    )


def _growths(workload: Workload, cells: Sequence[CellResult]) -> Iterator[Growth]:
    """Yield what is fitted along the workload's curve, where at least two points were measured."""
    if workload.curve is None:
        return
    points = {variant.name: variant.point for variant in workload.variants}
    series = dict.fromkeys(point.series for point in points.values() if point is not None)
    for name in series:
        for figure in workload.curve.grows:
            found = [
                (point.at(cell.size), (cell.figures or {}).get(figure, 0.0))
                for cell in cells
                if (point := points[cell.variant]) is not None and point.series == name
            ]
            # What took less than the clock can tell has no logarithm.
            positive = [(x, y) for x, y in found if y > 0]
            places = len({x for x, _ in positive})
            if places > 1:
                yield Growth(
                    series=name,
                    figure=figure,
                    points=len(positive),
                    places=places,
                    fit=fit_exponent(positive),
                    most=workload.curve.most,
                )


def _figures(cells: Sequence[CellResult]) -> dict[str, Estimate]:
    names = dict.fromkeys(name for cell in cells for name in cell.figures or {})
    found = {name: [cell.bounded(name) for cell in cells] for name in names}
    return {
        name: estimate([value for value in values if value is not None])
        for name, values in found.items()
    }


def compare(wanted: Comparison, cells: Iterable[CellResult]) -> Estimate | None:
    """Estimate ``wanted`` over the rounds that have both of its cells; return None without any."""
    by_round: dict[int, dict[str, Bounded]] = {}
    for cell in cells:
        value = cell.bounded(wanted.figure)
        if value is not None:
            by_round.setdefault(cell.round_no, {})[cell.variant] = value
    pairs = [
        (values[wanted.variant], values[wanted.against or wanted.variant])
        for values in by_round.values()
        if wanted.variant in values and (wanted.against or wanted.variant) in values
    ]
    if not pairs:
        return None
    if wanted.against is None:
        return estimate([value for value, _ in pairs])
    if wanted.difference:
        return estimate(
            [
                Bounded(one.value - other.value, one.low - other.high, one.high - other.low)
                for one, other in pairs
            ]
        )
    return _ratio(pairs)


def _ratio(pairs: Sequence[tuple[Bounded, Bounded]]) -> Estimate | None:
    # A figure of nothing (no lag, no memory above idle) has no ratio to another.
    if any(other.low <= 0 for _, other in pairs):
        return None
    return estimate(
        [
            Bounded(one.value / other.value, one.low / other.high, one.high / other.low)
            for one, other in pairs
        ]
    )
