"""The look of the progress bar."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
)
from rich.text import Text

__all__ = ["RateColumn", "make_bar"]


class RateColumn(ProgressColumn):
    """Units a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "–/s", style="progress.data.speed")


def make_bar(*columns: ProgressColumn, refresh_s: float) -> Progress:
    """Make a bar on stderr that shows how much is done, and then ``columns``."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        *columns,
        console=Console(stderr=True),
        transient=True,
        # Logs are written above the bar.
        redirect_stderr=True,
        redirect_stdout=False,
        refresh_per_second=1 / refresh_s,
    )
