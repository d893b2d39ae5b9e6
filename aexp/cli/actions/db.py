"""``aexp db``: the database behind the runs."""

from __future__ import annotations

import os
import shutil
import sys
from functools import partial
from pathlib import Path

import click

from aexp.cli.terminal.output import out, restore_stdout
from aexp.database import (
    DatabaseUrl,
    embedded,
    embedded_home,
    ensure_schema,
    locate_database,
    programs,
)
from aexp.database.connect import connected
from aexp.errors import DatabaseMissing, UsageError
from aexp.processes.loop import run_on_loop
from aexp.settings import Settings, psql_environment

__all__ = ["migrate", "psql", "reset", "start", "stop", "url"]


def _embedded_home(settings: Settings, what: str) -> Path:
    home = embedded_home(settings)
    if home is None:
        raise UsageError(
            f"`aexp db {what}` is for the embedded server, but the URL of another is given:"
            " unset DBOS_SYSTEM_DATABASE_URL, or use that server's own tools"
        )
    if "home" in settings.model_fields_set and not _is_same(home, settings.home):
        raise UsageError(
            f"the database URL is of the server in {home}, --home or AEXP_HOME names"
            f" {settings.home.absolute()}: give one of them"
        )
    return home


def _is_same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def url(settings: Settings) -> int:
    """Print the database's URL, password included; starts the embedded server."""
    click.echo(locate_database(settings).libpq, file=out())
    return 0


def psql(settings: Settings, arguments: tuple[str, ...]) -> int:
    """Open psql on the database; ARGUMENTS go to psql."""
    located = locate_database(settings)
    bundled = programs.program("psql")
    command = str(bundled) if bundled is not None else shutil.which("psql")
    if command is None:
        raise UsageError("no psql found: install PostgreSQL's client")
    restore_stdout()
    # Replaces this process, so that psql has the terminal and its signals to itself. The password
    # goes by the environment, since everybody may see a command's arguments.
    os.execve(  # noqa: S606 - no shell is wanted
        command, [command, located.without_password, *arguments], psql_environment(located.password)
    )


def start(settings: Settings) -> int:
    """Start the embedded server; it stays up until `aexp db stop`."""
    home = _embedded_home(settings, "start")
    located = embedded.start(home)
    click.echo(f"PostgreSQL is up at {located} (process {embedded.running_pid(home)})", file=out())
    return 0


def stop(settings: Settings) -> int:
    """Stop the embedded server. Its data stays."""
    stopped = embedded.stop(_embedded_home(settings, "stop"))
    click.echo("PostgreSQL has stopped" if stopped else "PostgreSQL was not running", file=out())
    return 0


def migrate(settings: Settings, *, create: bool) -> int:
    """Bring the tables of DBOS and of aexp to this version."""
    located = locate_database(settings)

    def bring(*, create: bool) -> bool:
        return run_on_loop(settings.loop, partial(ensure_schema, located, create=create))

    try:
        changed = bring(create=create)
    except DatabaseMissing:
        if not sys.stdin.isatty() or not click.confirm(
            f"There is no {located}. Make it?", err=True
        ):
            raise
        changed = bring(create=True)
    click.echo(f"{located} {'has been migrated' if changed else 'is up to date'}", file=out())
    return 0


def reset(settings: Settings, *, yes: bool) -> int:
    """Drop every run and workflow: schemas aexp and dbos, made anew and empty."""
    located = locate_database(settings, only_known=True)
    if not yes and not _confirms(f"Drop all runs and workflows in {located}?"):
        click.echo("aexp: nothing was dropped", err=True)
        return 1
    run_on_loop(settings.loop, lambda: _reset(located))
    click.echo(f"{located} is empty", file=out())
    return 0


def _confirms(question: str) -> bool:
    """Ask whether a person says yes; anything else, and the end of input, is a no."""
    # Not click's own, which takes the end of input for an interrupt.
    click.echo(f"{question} [y/N]: ", nl=False, err=True)
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        click.echo(err=True)
    return answer.strip().lower() in {"y", "yes"}


async def _reset(located: DatabaseUrl) -> None:
    # First of all, so that a database which is not ours is refused and not emptied.
    await ensure_schema(located)
    async with connected(located) as connection, connection.transaction():
        await connection.execute("DROP SCHEMA aexp CASCADE")
        await connection.execute("DROP SCHEMA dbos CASCADE")
    await ensure_schema(located)
