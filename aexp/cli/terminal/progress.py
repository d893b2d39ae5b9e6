"""The progress bar on stderr, drawn from counters in memory."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

from aexp.processes.progress import Snapshot

__all__ = ["REFRESH_S", "show_progress"]

REFRESH_S = 0.1


@asynccontextmanager
async def show_progress(
    title: str, read: Callable[[], tuple[Snapshot, int]]
) -> AsyncIterator[Callable[[], None]]:
    """Draw what ``read`` returns (state, restarts) while the context lives, or until what it yields
    is called.

    Draws nothing unless stderr is a terminal.
    """
    if not sys.stderr.isatty():
        yield lambda: None
        return
    # Not at the top: only a person at a terminal waits for it.
    from rich.progress import TextColumn, TimeRemainingColumn  # noqa: PLC0415

    from aexp.cli.terminal.bar import RateColumn, make_bar  # noqa: PLC0415

    restarts_column = TextColumn("{task.fields[restarts]} restarts")
    with make_bar(RateColumn(), TimeRemainingColumn(), restarts_column, refresh_s=REFRESH_S) as bar:
        task = bar.add_task(title, total=None, restarts=0)

        async def draw() -> None:
            while True:
                state, restarts = read()
                bar.update(task, completed=state.done, total=state.total, restarts=restarts)
                await anyio.sleep(REFRESH_S)

        async with anyio.create_task_group() as group:
            group.start_soon(draw)
            try:
                yield bar.stop
            finally:
                group.cancel_scope.cancel()
