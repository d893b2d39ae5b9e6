"""What a bench came to, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from aexp.bench.model import Outlook
from aexp.bench.result import Compared, Growth, Measured, Result, Summary
from aexp.bench.statistics import Estimate
from aexp.bench.workload import Comparison
from aexp.cli.output import out
from aexp.cli.render import console

__all__ = ["print_result"]

_STYLES = {"met": "green", "missed": "bold red", "undecided": "yellow", None: "dim"}
# Figure → heading, and unit where the heading does not say it.
_COLUMNS = {
    "cpu_ms": "CPU ms",
    "memory_above_idle_mib": "MiB above idle",
    "threads": "threads",
}
_LAG = ("lag_p50_ms", "lag_p99_ms", "lag_max_ms")
# Without a terminal there is no width to keep to.
_WIDTH = 120


def print_result(result: Result) -> None:
    """Print the tables of all workloads, and what puts them in doubt."""
    screen = console()
    if not screen.is_terminal:
        screen.width = _WIDTH
    for summary in result.summaries:
        screen.print(Text(summary.workload.name, style="bold"), end="")
        screen.print(Text(f"  {summary.workload.summary}", style="dim"))
        screen.print(_variants(summary))
        if summary.compared:
            screen.print()
            screen.print(_comparisons(summary.compared))
        if summary.growths:
            screen.print()
            screen.print(_growths(summary.growths))
        screen.print()
    for looked in result.outlooks:
        screen.print(_outlook(looked))
        screen.print()
    for line in _doubts(result):
        screen.print(Text(line, style="yellow"))
    for cell in result.failed:
        where = f"{cell.workload} {cell.variant}, round {cell.round_no}"
        screen.print(Text(f"no result: {where}: {cell.failure}", style="red"))
    screen.print(Text(_circumstances(result), style="dim"))
    out().flush()


def _variants(summary: Summary) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    headline = summary.workload.headline
    heading = f"{summary.workload.unit}s a second" if headline == "rate" else _words(headline)
    table.add_column(heading, justify="right", style="bold")
    table.add_column("", no_wrap=True)
    columns = [
        name for name in _COLUMNS if any(name in found.figures for found in summary.measured)
    ]
    for name in columns:
        table.add_column(_COLUMNS[name], justify="right")
    has_loop = any(_LAG[0] in found.figures for found in summary.measured)
    if has_loop:
        table.add_column("lag p50/p99/max ms", justify="right")
    for found in summary.measured:
        lag = [_median(found, name) for name in _LAG] if _LAG[0] in found.figures else ["–"]
        told = found.figures.get(headline)
        table.add_row(
            found.variant.name,
            _median(found, headline),
            # As text: brackets are markup otherwise.
            Text(interval(told)) if told is not None else "",
            *(_median(found, name) for name in columns),
            *(["/".join(lag)] if has_loop else []),
        )
    return table


def _median(found: Measured, figure: str) -> str:
    told = found.figures.get(figure)
    return number(told.median) if told is not None else "–"


def _comparisons(compared: Sequence[Compared]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right", style="bold")
    table.add_column(no_wrap=True)
    table.add_column(style="dim")
    table.add_column()
    for found in compared:
        verdict = found.verdict
        table.add_row(
            title(found.comparison),
            number(found.estimate.median) if found.estimate is not None else "–",
            Text(interval(found.estimate) if found.estimate else "no pair of results"),
            target(found.comparison),
            Text(verdict or "", style=_STYLES[verdict]),
        )
    return table


def _growths(growths: Sequence[Growth]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("grows as")
    table.add_column("x to the power", justify="right", style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("steepest", justify="right")
    table.add_column("")
    table.add_column("")
    for found in growths:
        fit = found.fit
        table.add_row(
            f"{found.series}, {_words(found.figure)}",
            f"{fit.exponent:.2f}",
            Text(f"[{fit.low:.2f} … {fit.high:.2f}]"),
            f"{fit.steepest:.2f}",
            Text(f"≤ {found.most:g}", style="dim"),
            Text(found.verdict, style=_STYLES[found.verdict]),
        )
    return table


def _outlook(looked: Outlook) -> Table:
    table = Table(
        box=None,
        pad_edge=False,
        header_style="dim",
        title=f"{looked.messages:,} messages a day as in {looked.variant}",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("")
    table.add_column("needed", justify="right", style="bold")
    table.add_column("here", justify="right")
    table.add_column("")
    table.add_column("")
    for need in looked.needs:
        first = looked.first is not None and need.what == looked.first.what
        table.add_row(
            need.what,
            number(need.needed),
            number(need.available) if need.available is not None else "–",
            Text(need.unit, style="dim"),
            Text("gives way first" if first else "", style="yellow"),
        )
    return table


def title(comparison: Comparison) -> str:
    """What is compared, such as ``fan-out / sync  rate``."""
    sign = {"ratio": " / ", "difference": " – ", "value": ""}[comparison.how]
    return f"{comparison.variant}{sign}{comparison.against or ''}  {_words(comparison.figure)}"


def target(comparison: Comparison) -> str:
    """The target of a comparison, such as ``≥ 3``."""
    least, most = comparison.least, comparison.most
    if least is not None and most is not None:
        return f"{least:g} … {most:g}"
    if least is not None:
        return f"≥ {least:g}"
    return f"≤ {most:g}" if most is not None else ""


def interval(found: Estimate) -> str:
    """The interval of a figure; a single round has none."""
    if found.rounds == 1:
        return "[one round]"
    return f"[{number(found.low)} … {number(found.high)}]"


def number(value: float) -> str:
    """Three digits that tell something, the zeros after them written out."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _words(figure: str) -> str:
    return figure.replace("_", " ")


def _doubts(result: Result) -> Sequence[str]:
    """What a reader must know before he believes a figure."""
    said = []
    rounds = result.circumstances["rounds"]
    if rounds["done"] < rounds["asked"]:
        said.append(f"{rounds['done']} of {rounds['asked']} rounds: the two minutes were over")
    if result.busy:
        most = max(cell.others for cell in result.busy)
        said.append(
            f"busy machine: during {len(result.busy)} of {len(result.cells)} cells others took up"
            f" to {most:.0%} of it; the intervals are wider by what they took"
        )
    return said


def _circumstances(result: Result) -> str:
    told = result.circumstances
    machine, versions, rounds = told["machine"], told["versions"], told["rounds"]["done"]
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
        f"{intervals} ratios paired within a round, seed {told['seed']},"
        f" {told['elapsed_s']:g} s\n"
        f"{machine['processor']}, {machine['cores']} cores, {machine['kernel']};"
        f" {versions['python']}, dbos {versions['dbos']}, PostgreSQL"
        f" {told['postgresql']['version']} with fsync and synchronous_commit on;"
        f" load {told['load']['before']['average']} before,"
        f" {told['load']['after']['average']} after"
    )
