"""``aexp report``: the view of a run with its timeline, as one HTML file."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import click

from aexp.audit import audit_run
from aexp.cli.options import with_settings
from aexp.cli.output import out
from aexp.cli.run import load_run
from aexp.database import locate_database, require_schema
from aexp.database.connect import connected
from aexp.errors import UsageError
from aexp.execution import run_on_loop
from aexp.report import gather_timeline, render_page, view_data
from aexp.settings import Settings

__all__ = ["check_place", "report", "write_page"]

_STDOUT = Path("-")


@click.command
@click.argument("run_id")
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path, allow_dash=True),
    required=True,
    metavar="FILE",
    help="The file to write, or - for stdout.",
)
@with_settings
def report(settings: Settings, run_id: str, path: Path) -> int:
    """Write a run's account and timeline as one HTML file, to be opened offline. Runs nothing.

    The exit code tells whether it was written, not whether the promises held.
    """
    if path != _STDOUT:
        check_place(path)
    url = locate_database(settings)

    async def main() -> str:
        await require_schema(url)
        run, scenario = await load_run(url, run_id)
        async with connected(url, read_only=True) as connection:
            told = await audit_run(url, connection, run, scenario, settings=settings.echo())
            timeline = await gather_timeline(connection, run)
        return render_page(view_data(told, timeline))

    page = run_on_loop(settings.loop, main)
    if path == _STDOUT:
        out().write(page)
        out().flush()
    else:
        write_page(path, page)
    return 0


def check_place(path: Path) -> None:
    """Say what is wrong with ``path`` before any work is done."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name a file in it, such as {path / 'run.html'}")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}: make it, or name another")


def write_page(path: Path, page: str) -> None:
    """Write the whole file or none of it: it takes its name when it is complete."""
    # Where a link points, the file there is replaced and not the link.
    path = path.resolve()
    if path.exists() and not path.is_file():
        # A device or a pipe is written to; a rename would take its place.
        try:
            path.write_text(page, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error
        return
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)
    except OSError as error:
        raise UsageError(f"cannot write in {path.parent}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(page)
        # mkstemp lets nobody else read it; a report is as readable as any new file.
        Path(name).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException as error:
        with suppress(OSError):
            Path(name).unlink()
        if isinstance(error, OSError):
            raise UsageError(f"cannot write {path}: {error.strerror}") from error
        raise


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
