"""What an exploration found, for people."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from aexp.crash.judge.findings import Finding
from aexp.crash.judge.ownership import Takeover, late_changes
from aexp.crash.judge.wording import counted
from aexp.crash.results import BASELINE, Exploration
from aexp.model.plain import to_text

__all__ = ["SHOWN", "print_exploration", "render_exploration", "render_finding", "render_verdict"]

# Rows of an anomaly, and names of a kind, that are shown; JSON has all that were gathered.
SHOWN = 5
_LOG_LINES = 5
_LONGEST_OUTCOME = 100
# What is only told, and somebody will want to see.
_LOOKED_AT = frozenset({"depends_on_downtime"})
_WIDTH = 100
_DEPLOYMENT = (
    "Here the new code takes up what the old code has left. By default DBOS gives each code a"
    " version of its own, and a run stays PENDING until a process of its version recovers it: keep"
    " one, or give both codes the same `application_version`."
)


def render_exploration(exploration: Exploration) -> str:
    """Return what :func:`print_exploration` prints, without colours."""
    screen = _plain_console()
    print_exploration(screen, exploration)
    return _printed(screen)


def render_verdict(exploration: Exploration) -> str:
    """Return the first lines of that: the verdict, and how many points it comes from."""
    return f"{_heading(exploration)}\n{_counts(exploration)}"


def render_finding(exploration: Exploration, finding: Finding) -> str:
    """Return what is said of one finding, without colours."""
    screen = _plain_console()
    _explain(screen, exploration, finding)
    return _printed(screen)


def _plain_console() -> Console:
    return Console(file=io.StringIO(), width=_WIDTH, highlight=False, color_system=None)


def _printed(screen: Console) -> str:
    assert isinstance(screen.file, io.StringIO)
    lines = screen.file.getvalue().splitlines()
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def print_exploration(screen: Console, exploration: Exploration) -> None:
    """Print the verdict, what was found by its causes, and tables of steps and writes."""
    for line in (_heading(exploration), _counts(exploration), _pace(exploration)):
        _say(screen, line)
    for finding in exploration.findings:
        _explain(screen, exploration, finding)
    if exploration.repeated_steps:
        screen.print("\nsteps that ran more than once", style="bold")
        screen.print(_steps(exploration))
    if exploration.repeated_requests:
        screen.print("\nrequests that were sent more often than without a fault", style="bold")
        screen.print(_requests(exploration))
    if exploration.planned:
        screen.print()
        table = _moments if exploration.study == "upgrade" else _kinds
        screen.print(table(exploration))
    for text in _remarks(exploration):
        screen.print()
        _say(screen, text)


def _remarks(exploration: Exploration) -> Iterator[Text]:
    """Say what is no finding: what was not tried, restarts, takeovers, points that show nothing."""
    if exploration.study == "upgrade":
        yield Text(_DEPLOYMENT, "dim")
    if exploration.untried:
        kinds = exploration.untried.items()
        listed = ", ".join(f"{kind} ({counted(number, 'write')})" for kind, number in kinds)
        yield Text(f"not tried: {listed}")
    if restarted := [result for result in exploration.verified if result.restarted]:
        yield Text(
            "Ended only when the process, which had lost an acknowledgement or its server and"
            f" then did nothing more or ended, was started again: {len(restarted)} of the points"
            + "".join(f"\n  {result.name}" for result in restarted[:SHOWN])
        )
    for result in exploration.verified:
        if result.stranded is not None:
            causes = result.stranded.causes.items()
            yield Text(f"STRANDED {result.name}", style="yellow").append(
                "".join(f"\n  {cause}: {', '.join(ids[:SHOWN])}" for cause, ids in causes),
                "default",
            )
    if zombies := [one.take_over for one in exploration.verified if one.take_over is not None]:
        yield Text(_taken_over(zombies))
    for result in exploration.void:
        yield Text(f"VOID {result.name}: {result.void}", style="yellow")
    if unsteady := exploration.unsteady:
        were = "was" if len(unsteady) == 1 else "were"
        yield Text(
            f"{counted(len(unsteady), 'write')} {were} not in every run without a fault:"
            f" {', '.join(unsteady[:SHOWN])}"
        )


def _taken_over(zombies: Sequence[Takeover]) -> str:
    waited = Counter(zombie.waited_for for zombie in zombies if zombie.handed_over)
    told = f"Points at which an executor was stopped: {len(zombies)}. It went on when another one"
    told += f" had come to the end with its work ({waited.pop(None, 0)})"
    for reason, points in waited.most_common():
        told += f", or waited for {reason} ({points})"
    unclaimed = sum(not zombie.handed_over for zombie in zombies)
    held_open = sum(bool(late_changes(zombie)) for zombie in zombies)
    return (
        f"{told}, or it had claimed nothing ({unclaimed}). Then it committed a transaction that it"
        f" had held open all the while ({held_open})."
    )


def _heading(exploration: Exploration) -> Text:
    """Say the verdict, and how the run ends when it is left alone."""
    verdict, style = "HELD", "bold green"
    if exploration.broken:
        verdict, style = "BROKEN", "bold red"
    elif not exploration.ok:
        verdict, style = "NOT VERIFIED", "bold yellow"
    heading = Text(f"{exploration.scenario}  ", style="bold")
    heading.append(verdict, style)
    outcome = exploration.baseline.outcome
    brief = outcome if isinstance(outcome, str) else to_text(outcome)
    brief = " ".join(brief.split())
    if len(brief) > _LONGEST_OUTCOME:
        brief = f"{brief[:_LONGEST_OUTCOME]}…"
    heading.append(f"  without a fault: {exploration.baseline.status} {brief}".rstrip(), "not bold")
    if exploration.interrupted or exploration.failure is not None:
        heading.append("  interrupted", "yellow")
    return heading


def _counts(exploration: Exploration) -> Text:
    planned, verified = len(exploration.planned), len(exploration.verified)
    if not planned:
        return Text("no point was tried", "yellow")
    counts = Text()
    if exploration.broken:
        broken = sum(result.point is not None for result in exploration.broken)
        alone = "broken without a fault, " if broken < len(exploration.broken) else ""
        counts.append(f"{alone}{broken} of {planned} points broken", "bold red").append(", ")
    counts.append(f"{verified} of {planned} points verified ({exploration.coverage:.0%})")
    if planned < exploration.possible:
        counts.append(f", chosen of {exploration.possible}", "yellow")
    return counts


def _pace(exploration: Exploration) -> Text:
    writes = counted(exploration.writes, "durable write")
    told = f"{writes} ({exploration.bookkeeping} more are bookkeeping)"
    if exploration.seconds_per_point is not None:
        told += f"; {exploration.seconds_per_point:.2f} s a point, {exploration.jobs} at a time"
    return Text(f"{told}; {exploration.elapsed_s:.1f} s", "dim")


def _moments(exploration: Exploration) -> Table:
    """Tell for each moment of a deployment what becomes of a run that is in flight then."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("deployed", overflow="fold")
    table.add_column("a run that is in flight", overflow="fold")
    for result in exploration.results:
        style = {"broken": "bold red", "void": "yellow"}.get(result.verdict, "")
        became = result.became if result.void is None else f"not verified: {result.void}"
        table.add_row(Text(result.moment or result.name), Text(became or "", style=style))
    return table


def _kinds(exploration: Exploration) -> Table:
    rows = exploration.by_kind()
    # Few explorations have any, and the names of writes are long.
    rare = [name for name in ("restarted", "void") if any(getattr(row, name) for row in rows)]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("write", style="bold", overflow="fold")
    for column in ("points", "verified", "duplicates", *rare, "broken"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            Text(row.kind),
            str(row.points),
            str(row.verified),
            "–" if row.duplicates is None else str(row.duplicates),
            *(Text(str(getattr(row, name)), style="yellow") for name in rare),
            Text(str(row.broken), style="bold red" if row.broken else ""),
        )
    return table


def _steps(exploration: Exploration) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("step", style="bold", overflow="fold")
    for column in ("points", "processes"):
        table.add_column(column, justify="right")
    table.add_column("", overflow="fold")
    for step in exploration.repeated_steps:
        traits = [
            *(["transactional"] if step.transactional else []),
            *(["idempotent"] if step.idempotent else []),
            *([f"touches {', '.join(step.touched[:SHOWN])}"] if step.touched else []),
        ]
        table.add_row(Text(step.name), str(step.points), str(step.most), Text("; ".join(traits)))
    return table


def _requests(exploration: Exploration) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("request", style="bold", overflow="fold")
    for column in ("points", "without a fault", "most"):
        table.add_column(column, justify="right")
    table.add_column("", overflow="fold")
    for each in exploration.repeated_requests:
        name = Text(f"{each.stub} {each.request}")
        figures = (each.points, each.expected, each.most)
        table.add_row(name, *map(str, figures), Text(each.told))
    return table


def _explain(screen: Console, exploration: Exploration, finding: Finding) -> None:
    style = "bold red" if finding.is_broken else "bold yellow"
    points = [point for point in finding.points if point != BASELINE]
    often = f"at {len(points)} of {len(exploration.planned)} points" if points else ""
    alone = "without a fault" if len(points) < len(finding.points) else ""
    screen.print()
    heading = Text(f"{finding.code.code} {finding.code.title}", style=style)
    _say(screen, heading.append(f"  {', '.join(filter(None, (alone, often)))}", "not bold"))
    moments = {result.name: result.moment for result in exploration.results if result.moment}
    if deployed := list(dict.fromkeys(moments[point] for point in points if point in moments)):
        _say(screen, Text(f"deployed {', '.join(deployed)}"), 2)
    if finding.promise:
        promise = Text(f"{finding.promise}: ", style="bold").append(finding.statement, "not bold")
        _say(screen, promise, 2)
    _say(screen, Text(finding.told), 2)
    if finding.where is not None:
        _say(screen, Text(f"at {finding.where}"), 2)
    rows = finding.example.anomaly.rows
    for row in rows[:SHOWN]:
        _say(screen, Text(_row(row)), 4)
    if len(rows) > SHOWN:
        _say(screen, Text(f"… {len(rows) - SHOWN} more with --json"), 4)
    if finding.is_broken:
        for line in finding.example.log[-_LOG_LINES:]:
            screen.print(Text(f"  │ {line}", style="dim"), soft_wrap=True)
    elif finding.code.kind not in _LOOKED_AT:
        return
    replay = exploration.replay_of(finding.replayed_by)
    screen.print(Text(f"  {replay}", style="cyan"), soft_wrap=True)


def _row(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}: {to_text(value)}" for name, value in row.items())


def _say(screen: Console, text: Text, indent: int = 0) -> None:
    """Print prose: wrapped between words on a terminal, one line elsewhere."""
    if screen.is_terminal:
        screen.print(Padding(text, (0, 0, 0, indent)))
    else:
        screen.print(Text(" " * indent).append(text), soft_wrap=True)
