"""The progress bar on stderr, drawn from counters in memory."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from aexp.progress import Snapshot

__all__ = ["show_progress"]

REFRESH_S = 0.1


class _RateColumn(ProgressColumn):
    """Units a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "–/s", style="progress.data.speed")


@asynccontextmanager
async def show_progress(
    title: str, read: Callable[[], tuple[Snapshot, int]]
) -> AsyncIterator[None]:
    """Draw what ``read`` returns (state, restarts) while the context lives.

    Draws nothing unless stderr is a terminal.
    """
    if not sys.stderr.isatty():
        yield
        return
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[restarts]} restarts"),
        console=Console(stderr=True),
        transient=True,
        # Logs are written above the bar.
        redirect_stderr=True,
        redirect_stdout=False,
        refresh_per_second=1 / REFRESH_S,
    )
    with bar:
        task = bar.add_task(title, total=None, restarts=0)

        async def draw() -> None:
            while True:
                state, restarts = read()
                bar.update(task, completed=state.done, total=state.total, restarts=restarts)
                await anyio.sleep(REFRESH_S)

        async with anyio.create_task_group() as group:
            group.start_soon(draw)
            try:
                yield
            finally:
                group.cancel_scope.cancel()
