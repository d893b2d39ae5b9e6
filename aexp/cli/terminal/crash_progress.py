"""How far an exploration has come, drawn on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from rich.progress import TextColumn, TimeRemainingColumn

from aexp.cli.terminal.bar import make_bar
from aexp.cli.terminal.progress import REFRESH_S
from aexp.crash.explorer import Explorer

__all__ = ["show_tally"]


@asynccontextmanager
async def show_tally(explorer: Explorer) -> AsyncIterator[None]:
    """Draw the tally of ``explorer`` while the context lives, if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    counts = TextColumn("{task.fields[counts]}")
    with make_bar(counts, TimeRemainingColumn(), refresh_s=REFRESH_S) as bar:
        task = bar.add_task(explorer.request.scenario.name, total=None, counts="")

        async def draw() -> None:
            while True:
                tally = explorer.tally
                bar.update(
                    task,
                    completed=tally.done,
                    total=tally.planned,
                    description=f"{explorer.request.scenario.name}: {tally.doing}",
                    counts=_counts(explorer),
                )
                await anyio.sleep(REFRESH_S)

        async with anyio.create_task_group() as group:
            group.start_soon(draw)
            try:
                yield
            finally:
                group.cancel_scope.cancel()


def _counts(explorer: Explorer) -> str:
    tally = explorer.tally
    found = tally.verdicts
    counts = f"[green]{found['held']} held[/]"
    counts += f" [bold red]{found['broken']} broken[/]" if found["broken"] else " 0 broken"
    counts += f" [yellow]{found['void']} void[/]" if found["void"] else " 0 void"
    if tally.began_at is not None and tally.done:
        counts += f" {(time.monotonic() - tally.began_at) / tally.done:.2f} s a point"
    return counts
