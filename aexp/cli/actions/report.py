"""``aexp report``: the view of a run with its timeline, as one HTML file."""

from __future__ import annotations

from pathlib import Path

from aexp.audit import audit_run
from aexp.cli.actions.run import load_run
from aexp.cli.files import check_place, write_whole
from aexp.cli.terminal.output import out
from aexp.database import locate_database, require_schema
from aexp.database.connect import connected
from aexp.processes.loop import run_on_loop
from aexp.settings import Settings
from aexp.viewer import gather_timeline, render_page, view_data

__all__ = ["report"]

_STDOUT = Path("-")


def report(settings: Settings, run_id: str | None, path: Path) -> int:
    """Write the page; the exit code."""
    if path != _STDOUT:
        check_place(path, "run.html")
    url = locate_database(settings, only_known=True)
    run, scenario = load_run(settings, url, run_id, require_schema)

    async def main() -> str:
        async with connected(url, read_only=True) as connection:
            audited = await audit_run(url, connection, run, scenario, settings=settings.echo())
            timeline = await gather_timeline(connection, run)
        return render_page(view_data(audited, timeline))

    page = run_on_loop(settings.loop, main)
    if path == _STDOUT:
        out().write(page)
        out().flush()
    else:
        write_whole(path, page)
    return 0
