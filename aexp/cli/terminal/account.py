"""Reports for people (rich, on stdout) and for programs (JSON, on stdout)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from aexp.audit import Report
from aexp.audit.overview import RunVerdict
from aexp.cli.terminal.output import out
from aexp.errors import NoRuns
from aexp.model.plain import to_text

__all__ = [
    "SHOWN",
    "console",
    "mark",
    "print_json",
    "print_none",
    "print_report",
    "print_table",
    "section",
]

# Rows of an anomaly that the terminal shows; --json has all that were gathered.
SHOWN = 5
_MARKS = {
    "held": Text("held", "green"),
    "broken": Text("BROKEN", "bold red"),
    "not judged": Text("not judged", "yellow"),
    "unknown": Text("unknown", "dim"),
}
_OUTCOMES: Mapping[bool | None, RunVerdict] = {True: "held", False: "broken", None: "not judged"}


def print_json(value: Any) -> None:
    """Print one JSON document on stdout. What JSON does not know stands there as text."""
    out().write(to_text(value, indent=2) + "\n")
    out().flush()


def print_none(reason: NoRuns, *, as_json: bool) -> int:
    """Print a list of nothing, and why; the exit code, which is 0."""
    if as_json:
        print_json([])
    else:
        out().write(f"{reason}\n")
        out().flush()
    return 0


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a plain table on stdout; cells that are Text keep their style."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(_plain(cell)) for cell in row))
    console().print(table)


def _plain(cell: Any) -> str:
    return "" if cell is None else str(cell)


def mark(outcome: RunVerdict) -> Text:
    """Return an outcome as it stands in tables."""
    return _MARKS[outcome]


def console() -> Console:
    """Make a console on the real stdout."""
    return Console(file=out(), highlight=False)


def print_report(report: Report, *, as_json: bool) -> None:
    """Print the account of a run."""
    if as_json:
        print_json(report.as_json())
        return
    screen = console()
    screen.print(_heading(report))
    screen.print(_processes(report))
    for title, value in report.account.items():
        if value or not isinstance(value, (Mapping, list)):
            screen.print()
            screen.print(section(title, value))
    screen.print()
    screen.print(_promises(report))
    for verdict in report.verdicts:
        for anomaly in verdict.anomalies or ():
            screen.print(Text(f"\n{verdict.name}: {anomaly.summary}", style="red"))
            for row in anomaly.rows[:SHOWN]:
                screen.print(Text("  " + to_text(dict(row))))
            if len(anomaly.rows) > SHOWN:
                screen.print(f"  … {len(anomaly.rows) - SHOWN} more with --json")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _heading(report: Report) -> Text:
    style = "bold green" if report.ok else "bold red"
    heading = Text(f"{report.run.run_id}  ", style="bold")
    heading.append(report.status, style)
    count = len(report.processes)
    plural = "process" if count == 1 else "processes"
    heading.append(f"  {report.elapsed_s:.2f} s in {count} {plural}", "dim")
    if report.origin is not None:
        heading.append("\nforked from {run_id} at step {start_step}".format(**report.origin), "dim")
    return heading


def _processes(report: Report) -> Text:
    lines = Text()
    for number, process in enumerate(report.processes):
        lines.append("" if number == 0 else "\n")
        lines.append(f"process {process.pid}  ", "dim")
        lines.append(report.ended(process))
    return lines


def section(title: str, value: Any) -> RenderableType:
    """Render a section of the account, in the form that its shape asks for (see
    aexp.model.scenario.Account).
    """
    heading = _words(title)
    if isinstance(value, list):
        return _rows(heading, [(row, "") for row in value])
    if not isinstance(value, Mapping):
        return Text(f"{heading}  ", style="bold").append(_figure(value), "not bold")
    if "children" in value:
        return _tree(value, Tree(Text(heading, style="bold")))
    if all(isinstance(inner, Mapping) for inner in value.values()):
        return _rows(heading, [(inner, name) for name, inner in value.items()])
    return _rows(heading, [(value, "")])


def _rows(heading: str, rows: Sequence[tuple[Mapping[str, Any], str]]) -> Table:
    """Render named rows as a table; its columns are those of all rows, figures to the right."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    columns = list(dict.fromkeys(column for values, _ in rows for column in values))
    table.add_column(heading, style="bold")
    for column in columns:
        is_text = any(isinstance(values.get(column), str) for values, _ in rows)
        table.add_column(_words(column), justify="left" if is_text else "right")
    for values, name in rows:
        cells = (_figure(values.get(column, ""), column) for column in columns)
        table.add_row(Text(name), *(Text(cell) for cell in cells))
    return table


def _tree(node: Mapping[str, Any], branch: Tree) -> Tree:
    """Render ``node`` and its children, each on a line; figures stand with their names."""
    line = Text()
    for key, value in node.items():
        if key == "children" or value is None:
            continue
        if isinstance(value, str):
            line.append(f"{value}  ", "not bold" if line else "bold")
        else:
            line.append(f"{_words(key)} ", "dim").append(f"{_figure(value)}  ", "not bold")
    grown = branch.add(line)
    for child in node["children"]:
        _tree(child, grown)
    return branch


def _figure(value: Any, name: str = "") -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    # A pid is a name and no amount.
    return f"{value:,}" if isinstance(value, int) and name != "pid" else str(value)


def _promises(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(style="bold")
    table.add_column()
    for verdict in report.verdicts:
        why = f" ({verdict.reason})" if verdict.reason is not None else ""
        table.add_row(mark(_OUTCOMES[verdict.held]), verdict.name, Text(verdict.statement + why))
    return table
