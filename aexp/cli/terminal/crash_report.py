"""What an exploration found, for people (rich, on stdout) and for programs (JSON, on stdout)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from aexp.cli.terminal.account import SHOWN, console, print_json
from aexp.crash.judge.ownership import Takeover, late_changes
from aexp.crash.judge.results import Exploration, PointResult
from aexp.model.plain import to_text

__all__ = ["print_exploration"]

# Broken points that the terminal explains; --json and --report have all of them.
_EXPLAINED = 10
_LOG_LINES = 5


def print_exploration(exploration: Exploration, *, as_json: bool) -> None:
    """Print the verdict, a table by kind of write, and each broken point explained."""
    if as_json:
        print_json(exploration.as_json())
        return
    screen = console()
    screen.print(_heading(exploration))
    screen.print(_pace(exploration))
    screen.print()
    screen.print(_kinds(exploration))
    for result in exploration.broken[:_EXPLAINED]:
        _explain(screen, exploration, result)
    if len(exploration.broken) > _EXPLAINED:
        more = len(exploration.broken) - _EXPLAINED
        screen.print(f"\n{more} more broken points with --json or --report")
    if restarted := [result for result in exploration.verified if result.restarted]:
        screen.print(
            "\nEnded only when the process, which had lost an acknowledgement or its server and"
            f" then did nothing more or ended, was started again: {len(restarted)} of the points"
        )
        for result in restarted[:SHOWN]:
            screen.print(Text(f"  {result.name}"))
    for result in exploration.verified:
        if result.stranded is not None:
            screen.print(Text(f"\nSTRANDED {result.name}", style="yellow"))
            for cause, workflows in result.stranded.causes.items():
                screen.print(Text(f"  {cause}: {', '.join(workflows[:SHOWN])}"))
    if zombies := [one.take_over for one in exploration.verified if one.take_over is not None]:
        screen.print(f"\n{_taken_over(zombies)}")
    for result in exploration.void:
        screen.print(Text(f"\nVOID {result.name}: {result.void}", style="yellow"))
    if exploration.unsteady:
        listed = ", ".join(exploration.unsteady[:SHOWN])
        screen.print(
            f"\n{len(exploration.unsteady)} writes were not in a second run without a fault:"
            f" {listed}"
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
    verdict, style = "HELD", "bold green"
    if exploration.broken:
        verdict, style = "BROKEN", "bold red"
    elif not exploration.ok:
        verdict, style = "NOT VERIFIED", "bold yellow"
    heading = Text(f"{exploration.scenario}  ", style="bold")
    heading.append(verdict, style)
    heading.append(
        f"  {len(exploration.verified)} of {len(exploration.planned)} points verified"
        f" ({exploration.coverage:.0%})",
        "not bold",
    )
    if exploration.interrupted or exploration.failure is not None:
        heading.append("  interrupted", "yellow")
    return heading


def _pace(exploration: Exploration) -> Text:
    told = f"{exploration.writes} durable writes ({exploration.bookkeeping} more are bookkeeping)"
    if len(exploration.planned) < exploration.possible:
        told += f", {len(exploration.planned)} of {exploration.possible} points chosen"
    if exploration.seconds_per_point is not None:
        told += f"; {exploration.seconds_per_point:.2f} s a point, {exploration.jobs} at a time"
    return Text(f"{told}; {exploration.elapsed_s:.1f} s", "dim")


def _kinds(exploration: Exploration) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("write", style="bold", overflow="fold")
    for column in ("points", "verified", "duplicates", "restarted", "broken", "void"):
        table.add_column(column, justify="right")
    for row in exploration.by_kind():
        table.add_row(
            Text(row.kind),
            str(row.points),
            str(row.verified),
            str(row.duplicates),
            str(row.restarted),
            Text(str(row.broken), style="bold red" if row.broken else ""),
            Text(str(row.void), style="yellow" if row.void else ""),
        )
    return table


def _explain(screen: Console, exploration: Exploration, result: PointResult) -> None:
    screen.print(Text(f"\nBROKEN {result.name}", style="bold red"))
    for verdict in result.broken:
        screen.print(
            Text(f"  {verdict.name}: ", style="bold").append(verdict.statement, "not bold")
        )
        for anomaly in verdict.anomalies or ():
            screen.print(Text(f"    {anomaly.summary}", style="red"))
            for row in anomaly.rows[:SHOWN]:
                screen.print(Text("      " + to_text(dict(row))))
            if len(anomaly.rows) > SHOWN:
                screen.print(f"      … {len(anomaly.rows) - SHOWN} more with --json")
    for line in result.log[-_LOG_LINES:]:
        screen.print(Text(f"  │ {line}", style="dim"))
    screen.print(Text(f"  {exploration.replay_command(result)}", style="cyan"), soft_wrap=True)
