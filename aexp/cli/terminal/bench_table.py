"""What a bench came to, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from aexp.bench.analysis.outlook import Outlook
from aexp.bench.analysis.result import Result, Summary
from aexp.bench.present.wording import (
    Line,
    circumstances,
    compared,
    doubts,
    grown,
    interval,
    lasting,
    median,
    number,
    words,
)
from aexp.cli.terminal.account import console
from aexp.cli.terminal.output import out

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
        for lines in (compared(summary), grown(summary)):
            if lines:
                screen.print()
                screen.print(_lines(lines))
                for line in lines:
                    if line.reason:
                        screen.print(Text(f"{line.what}: {line.reason}", style="dim"))
        screen.print()
    for looked in result.outlooks:
        screen.print(_outlook(looked))
        screen.print()
    for doubt in doubts(result):
        screen.print(Text(doubt, style="yellow"))
    for cell in result.failed:
        where = f"{cell.workload} {cell.variant}, round {cell.round_no}"
        screen.print(Text(f"no result: {where}: {cell.failure}", style="red"))
    screen.print(Text(circumstances(result), style="dim"))
    out().flush()


def _variants(summary: Summary) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    headline = summary.workload.headline
    heading = f"{summary.workload.unit}s a second" if headline == "rate" else words(headline)
    table.add_column(heading, justify="right", style="bold")
    table.add_column("", no_wrap=True)
    columns = [
        name
        for name in _COLUMNS
        if name != headline and any(name in found.figures for found in summary.measured)
    ]
    for name in columns:
        table.add_column(_COLUMNS[name], justify="right")
    has_loop = any(_LAG[0] in found.figures for found in summary.measured)
    if has_loop:
        table.add_column("lag p50/p99/max ms", justify="right")
    for found in summary.measured:
        lag = (
            [median(found.figures.get(name)) for name in _LAG]
            if _LAG[0] in found.figures
            else ["–"]
        )
        figure = found.figures.get(headline)
        table.add_row(
            found.variant.name,
            median(figure),
            # As text: brackets are markup otherwise.
            Text(interval(figure)) if figure is not None else "",
            *(median(found.figures.get(name)) for name in columns),
            *(["/".join(lag)] if has_loop else []),
        )
    return table


def _lines(lines: Sequence[Line]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right", style="bold")
    table.add_column(no_wrap=True)
    table.add_column(style="dim")
    table.add_column()
    for line in lines:
        table.add_row(
            line.what,
            line.found,
            # As text: brackets are markup otherwise.
            Text(line.interval),
            line.target,
            Text(line.verdict or "", style=_STYLES[line.verdict]),
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
            Text("gives way first", style="yellow") if first else lasting(need),
        )
    return table
