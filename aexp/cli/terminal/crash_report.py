"""What an exploration found, for people (rich, on stdout)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from aexp.cli.terminal.account import SHOWN, console
from aexp.crash.judge.findings import Finding
from aexp.crash.judge.ownership import Takeover, late_changes
from aexp.crash.judge.results import BASELINE, Exploration
from aexp.model.plain import to_text

__all__ = ["print_exploration"]

_LOG_LINES = 5
_LONGEST_OUTCOME = 100


def print_exploration(exploration: Exploration) -> None:
    """Print the verdict, what was found by its causes, and tables of steps and writes."""
    screen = console()
    screen.print(_heading(exploration))
    screen.print(_counts(exploration))
    screen.print(_pace(exploration))
    findings = exploration.findings
    for finding in findings:
        _explain(screen, exploration, finding)
    if exploration.repeated_steps:
        screen.print("\nsteps that ran more than once", style="bold")
        screen.print(_steps(exploration))
    if exploration.planned:
        screen.print()
        screen.print(_kinds(exploration))
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
    broken = sum(result.point is not None for result in exploration.broken)
    if exploration.broken:
        counts.append(f"{broken} of {planned} points broken", "bold red")
        if broken < len(exploration.broken):
            counts.append(" and the run without a fault", "bold red")
        counts.append(", ")
    return counts.append(f"{verified} of {planned} points verified ({exploration.coverage:.0%})")


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
            "–" if row.duplicates is None else str(row.duplicates),
            str(row.restarted),
            Text(str(row.broken), style="bold red" if row.broken else ""),
            Text(str(row.void), style="yellow" if row.void else ""),
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


def _explain(screen: Console, exploration: Exploration, finding: Finding) -> None:
    style = "bold red" if finding.is_broken else "bold yellow"
    points = [point for point in finding.points if point != BASELINE]
    often = f"at {len(points)} of {len(exploration.planned)} points" if points else ""
    alone = "without a fault" if len(points) < len(finding.points) else ""
    heading = Text(f"\n{finding.code.code} {finding.code.title}", style=style)
    screen.print(heading.append(f"  {', '.join(filter(None, (alone, often)))}", "not bold"))
    if finding.promise:
        screen.print(
            Text(f"  {finding.promise}: ", style="bold").append(finding.statement, "not bold")
        )
    screen.print(Text(f"  {finding.summary}"), soft_wrap=True)
    if finding.where is not None:
        screen.print(Text(f"  at {finding.where}"))
    for row in finding.example.anomaly.rows[:SHOWN]:
        screen.print(Text("    " + to_text(dict(row))), soft_wrap=True)
    if len(finding.example.anomaly.rows) > SHOWN:
        screen.print(f"    … {len(finding.example.anomaly.rows) - SHOWN} more with --json")
    if not finding.is_broken:
        return
    for line in finding.example.log[-_LOG_LINES:]:
        screen.print(Text(f"  │ {line}", style="dim"))
    replay = exploration.replay_of(finding.example.point)
    screen.print(Text(f"  {replay}", style="cyan"), soft_wrap=True)
