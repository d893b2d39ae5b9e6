"""The plots of a bench's result, as SVG elements in the colours of the page around them.

matplotlib is imported here and nowhere else: it comes with the extra ``aexp[bench]``.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from aexp.bench.analysis.result import Summary
from aexp.bench.analysis.statistics import Estimate
from aexp.bench.present.wording import axis, number
from aexp.bench.workload import Curve

__all__ = ["draw_curve", "draw_rates"]

# In inches of 72 points, which are CSS pixels when drawn at full size: as wide as a card.
_WIDTH = 6.0
_ROW = 0.34

# matplotlib knows no variables of a style sheet: it draws in colours that nobody would use, which
# the names of aexp/report/assets/view.css then take the place of.
_TEXT, _QUIET, _LINE, _LIMIT = "#010001", "#010002", "#010003", "#010004"
_SERIES = ("#010010", "#010011", "#010012", "#010013", "#010014", "#010015")
_VARIABLES: Mapping[str, str] = {
    _TEXT: "--text",
    _QUIET: "--quiet",
    _LINE: "--line",
    _LIMIT: "--faint",
    **{colour: f"--process-{number}" for number, colour in enumerate(_SERIES)},
}
_MARKERS = ("o", "s", "^", "D", "v", "P")

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    # Text stays text: it can be found, selected, and read aloud.
    "svg.fonttype": "none",
    # A variant may be called anything.
    "text.parse_math": False,
    "text.color": _TEXT,
    "axes.labelcolor": _QUIET,
    "axes.edgecolor": _LINE,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _QUIET,
    "ytick.labelcolor": _TEXT,
    "grid.color": _LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw_rates(summary: Summary) -> str:
    """Draw the workload's headline for every variant, a dot with its interval, as SVG."""
    headline = summary.workload.headline
    rows = [
        (found.variant.name, found.figures[headline])
        for found in summary.measured
        if headline in found.figures
    ]
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(height=0.75 + _ROW * len(rows))
        for place, (name, found) in enumerate(rows):
            colour = _LIMIT if name.startswith("limit") else _SERIES[0]
            axes.plot([found.low, found.high], [place, place], color=colour, linewidth=2.5)
            axes.plot([found.median], [place], "o", color=colour, markersize=6)
            axes.annotate(
                number(found.median),
                (found.high, place),
                (7, 0),
                textcoords="offset points",
                va="center",
                color=_TEXT,
            )
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        highs, lows = [found.high for _, found in rows], [found.low for _, found in rows]
        # Bars from nought would be longer and tell no more; dots may lie on a scale of magnitudes.
        if min(lows) > 0 and max(highs) > 20 * min(lows):
            axes.set_xscale("log")
            axes.set_xlim(min(lows) / 1.5, max(highs) * 3)
            axes.xaxis.set_major_locator(_few_ticks(max(highs) / min(lows)))
        else:
            axes.set_xlim(0, max(highs) * 1.18 or 1)
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        _label(axes.xaxis, axis(headline, summary.workload.unit))
        return _svg(figure, f"{summary.workload.name}-rates")


def draw_curve(summary: Summary, curve: Curve) -> str | None:
    """Draw the workload's curve, a line for each series, as SVG; None without two points."""
    lines = _lines(summary, curve)
    if not any(len(points) > 1 for points in lines.values()):
        return None
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(height=3.4)
        for place, (name, points) in enumerate(lines.items()):
            _draw_line(axes, name, points, place)
        limit = _limit(summary, curve)
        if limit is not None:
            axes.axhspan(limit.low, limit.high, color=_LIMIT, alpha=0.25, linewidth=0)
            axes.axhline(limit.median, color=_LIMIT, linestyle="--", linewidth=1.5)
            axes.annotate(
                str(curve.limit),
                (1, limit.median),
                (-2, 5),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                color=_QUIET,
            )
        if curve.log_x:
            axes.set_xscale("log")
        xs = sorted({x for points in lines.values() for x, _ in points})
        axes.set_xticks(xs, [f"{x:,.0f}" for x in xs])
        axes.xaxis.set_minor_locator(NullLocator())
        if curve.log_y:
            axes.set_yscale("log")
            ends = [
                end for points in lines.values() for _, one in points for end in (one.low, one.high)
            ]
            axes.yaxis.set_major_locator(_few_ticks(max(ends) / min(ends)))
        else:
            axes.set_ylim(bottom=0)
            axes.margins(y=0.15)
        axes.grid(axis="y")
        axes.set_xlabel(curve.x)
        text = axis(curve.figure, summary.workload.unit)
        _label(axes.yaxis, "times as fast as with the first" if curve.relative else text)
        if len(lines) > 1:
            axes.legend(frameon=False, loc="best", labelcolor=_TEXT)
        return _svg(figure, f"{summary.workload.name}-curve")


def _lines(summary: Summary, curve: Curve) -> dict[str, list[tuple[float, Estimate]]]:
    """Return, by series, its points in order."""
    lines: dict[str, list[tuple[float, Estimate]]] = {}
    for found in summary.measured:
        point = found.variant.point
        if point is not None and curve.figure in found.figures:
            lines.setdefault(point.series, []).append(
                (point.at(found.size), found.figures[curve.figure])
            )
    ordered = {name: sorted(points, key=lambda point: point[0]) for name, points in lines.items()}
    if not curve.relative:
        return ordered
    return {name: _relative(points) for name, points in ordered.items()}


def _relative(points: Sequence[tuple[float, Estimate]]) -> list[tuple[float, Estimate]]:
    first = points[0][1].median
    return [
        (x, Estimate(found.median / first, found.low / first, found.high / first, found.rounds))
        for x, found in points
    ]


def _limit(summary: Summary, curve: Curve) -> Estimate | None:
    for found in summary.measured:
        if found.variant.name == curve.limit:
            return found.figures.get(curve.figure)
    return None


def _draw_line(axes: Axes, name: str, points: Sequence[tuple[float, Estimate]], place: int) -> None:
    colour, marker = _SERIES[place % len(_SERIES)], _MARKERS[place % len(_MARKERS)]
    xs, found = [x for x, _ in points], [estimate for _, estimate in points]
    axes.plot(xs, [one.median for one in found], f"{marker}-", color=colour, label=name)
    for x, one in zip(xs, found, strict=True):
        axes.plot([x, x], [one.low, one.high], color=colour, linewidth=2.5, alpha=0.6)


def _figure(*, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def _label(which: Axis, text: str) -> None:
    which.set_label_text(text)
    # Powers of ten in digits: as exponents they are read with more effort.
    which.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    which.set_minor_formatter(NullFormatter())


def _few_ticks(reach: float) -> LogLocator:
    """Return a locator for a scale of magnitudes whose end is so many times its beginning."""
    return LogLocator(subs=(1.0,) if reach > 100 else (1.0, 2.0, 5.0))


def _svg(figure: Figure, name: str) -> str:
    """Return ``figure`` as an element for a page; its ids begin with ``name``, the plot's own."""
    written = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(
            written, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = written.getvalue()
    text = text[text.index("<svg") :]
    # Its style sheet would hold for the whole page, see bench.css.
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    slug = re.sub(r"[^A-Za-z0-9-]", "-", name)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\1{slug}-", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text
