"""A bench's result in words and figures, as the terminal and the page have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from aexp.bench.analysis.outlook import Need
from aexp.bench.analysis.result import Compared, Growth, Result, Summary, TargetVerdict
from aexp.bench.analysis.statistics import Estimate
from aexp.bench.workload import Comparison

__all__ = [
    "Line",
    "axis",
    "circumstances",
    "compared",
    "doubts",
    "grown",
    "interval",
    "judged",
    "lasting",
    "median",
    "number",
    "words",
]


class Line(NamedTuple):
    """A comparison, or how a figure grows. Without a target ``verdict`` is None; ``reason`` says
    what stands in the way of one that is not met, or nothing.
    """

    workload: str
    what: str
    found: str
    interval: str
    target: str
    verdict: TargetVerdict | None
    reason: str = ""


def judged(result: Result) -> Iterator[Line]:
    """Return the comparisons that have a target."""
    for summary in result.summaries:
        for line in (*compared(summary), *grown(summary)):
            if line.verdict is not None:
                yield line


def compared(summary: Summary) -> Sequence[Line]:
    """Return the workload's comparisons, also those without a target."""
    return [_compared(summary.workload.name, found) for found in summary.compared]


def _compared(workload: str, found: Compared) -> Line:
    wanted, estimate = found.comparison, found.estimate
    return Line(
        workload,
        _title(wanted),
        median(estimate),
        interval(estimate) if estimate is not None else f"no {wanted.how}",
        _target(wanted),
        found.verdict,
        wanted.reason if found.verdict != "met" else "",
    )


def grown(summary: Summary) -> Sequence[Line]:
    """Say with which power the workload's figures grow."""
    return [_grown(summary.workload.name, growth) for growth in summary.growths]


def _grown(workload: str, growth: Growth) -> Line:
    fit = growth.fit
    return Line(
        workload,
        f"{growth.series}: {words(growth.figure)} grows with the power",
        _exponent(fit.exponent),
        f"[{_exponent(fit.low)} … {_exponent(fit.high)}], steepest {_exponent(fit.steepest)}",
        f"≤ {growth.most:g}",
        growth.verdict,
    )


def _title(comparison: Comparison) -> str:
    """Name what is compared, such as ``fan-out / sync: rate``."""
    sign = {"ratio": " / ", "difference": " – ", "value": ""}[comparison.how]
    return f"{comparison.variant}{sign}{comparison.against or ''}: {words(comparison.figure)}"


def _target(comparison: Comparison) -> str:
    """Return the target of a comparison, such as ``≥ 3``."""
    least, most = comparison.least, comparison.most
    if least is not None and most is not None:
        return f"{least:g} … {most:g}"
    if least is not None:
        return f"≥ {least:g}"
    return f"≤ {most:g}" if most is not None else ""


def lasting(need: Need) -> str:
    """Say how long what is used up lasts; an empty text for anything else."""
    return f"used up in {number(need.lasts_days)} days" if need.lasts_days is not None else ""


def interval(found: Estimate) -> str:
    """Return the interval of a figure; a single round has none."""
    if found.rounds == 1:
        return "[one round]"
    return f"[{number(found.low)} … {number(found.high)}]"


def median(found: Estimate | None) -> str:
    """Return the median of a figure, or a dash if there is none."""
    return number(found.median) if found is not None else "–"


def number(value: float) -> str:
    """Write three digits that tell something, the zeros after them written out."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _exponent(value: float) -> str:
    """Write two decimals, and no minus before nothing."""
    return f"{round(value, 2) + 0.0:.2f}"


def words(figure: str) -> str:
    """Return a figure's name as words."""
    return figure.replace("_", " ")


def axis(figure: str, unit: str) -> str:
    """Return the label of an axis with this figure; ``unit`` is the workload's."""
    known = {
        "rate": f"{unit}s a second",
        "wall_ms": f"ms a {unit}",
        "cpu_ms": f"ms of processor a {unit}",
        "server_cpu_ms": f"ms of PostgreSQL's processor a {unit}",
        "memory_above_idle_mib": "MiB above idle",
    }
    name, _, last = figure.rpartition("_")
    return known.get(figure) or (
        f"{words(name)} ({last})" if last in {"s", "ms"} else words(figure)
    )


def doubts(result: Result) -> Sequence[str]:
    """List what a reader must know before believing a figure."""
    said = []
    if result.circumstances["quick"]:
        said.append("made with --quick: small sizes, few rounds")
    rounds = result.circumstances["rounds"]
    if (failure := result.circumstances["failure"]) is not None:
        said.append(f"{rounds['done']} whole rounds of {rounds['asked']}: {failure}")
    elif rounds["done"] < rounds["asked"]:
        said.append(f"{rounds['done']} of {rounds['asked']} rounds: the two minutes were over")
    if result.busy:
        most = max(cell.others for cell in result.busy)
        said.append(
            f"busy machine: during {len(result.busy)} of {len(result.cells)} cells others took up"
            f" to {most:.0%} of it; the intervals are wider by what they took"
        )
    return said


def circumstances(result: Result) -> str:
    """Say how it was measured, and on what, in two lines."""
    facts = result.circumstances
    machine, versions, rounds = facts["machine"], facts["versions"], facts["rounds"]["done"]
    confidence = max(
        (
            estimate.confidence
            for summary in result.summaries
            for found in summary.measured
            for estimate in found.figures.values()
        ),
        default=0.0,
    )
    intervals = f" intervals of {confidence:.0%}," if confidence else ""
    return (
        f"medians of {rounds} {'round' if rounds == 1 else 'rounds'},"
        f"{intervals} ratios paired within a round, seed {facts['seed']},"
        f" {facts['elapsed_s']:g} s\n"
        f"{machine['processor']}, {machine['cores']} cores, {machine['kernel']};"
        f" {versions['python']}, dbos {versions['dbos']}, PostgreSQL"
        f" {facts['postgresql']['version']} with fsync and synchronous_commit on;"
        f" load {facts['load']['before']['average']} before,"
        f" {facts['load']['after']['average']} after"
    )
