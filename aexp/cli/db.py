"""``aexp db``: the database behind the runs."""

from __future__ import annotations

import os
import shutil
import sys

import click

from aexp.cli.output import out, restore_stdout
from aexp.database import DatabaseUrl, embedded, ensure_schema, locate_database
from aexp.database.connect import connected
from aexp.errors import UsageError
from aexp.execution import run_on_loop
from aexp.settings import Settings, psql_environment

__all__ = ["migrate", "psql", "reset", "start", "stop", "url"]


def _embedded_only(settings: Settings, what: str) -> None:
    if settings.database_url is not None:
        raise UsageError(
            f"`aexp db {what}` is for the embedded server, but a database URL is given:"
            " unset DBOS_SYSTEM_DATABASE_URL, or use that server's own tools"
        )


def url(settings: Settings) -> int:
    """Print the database's URL, password included; starts the embedded server."""
    click.echo(locate_database(settings).libpq, file=out())
    return 0


def psql(settings: Settings, arguments: tuple[str, ...]) -> int:
    """Open psql on the database; ARGUMENTS go to psql."""
    located = locate_database(settings)
    bundled = embedded.program("psql")
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
    _embedded_only(settings, "start")
    located = locate_database(settings)
    click.echo(
        f"PostgreSQL is up at {located} (process {embedded.running_pid(settings.home)})", file=out()
    )
    return 0


def stop(settings: Settings) -> int:
    """Stop the embedded server. Its data stays."""
    _embedded_only(settings, "stop")
    stopped = embedded.stop(settings.home)
    click.echo("PostgreSQL has stopped" if stopped else "PostgreSQL was not running", file=out())
    return 0


def migrate(settings: Settings) -> int:
    """Bring the tables of DBOS and of aexp to this version."""
    located = locate_database(settings)

    async def main() -> bool:
        return await ensure_schema(located, create=True)

    changed = run_on_loop(settings.loop, main)
    click.echo(f"{located} {'has been migrated' if changed else 'is up to date'}", file=out())
    return 0


def reset(settings: Settings, *, yes: bool) -> int:
    """Drop every run and workflow: schemas aexp and dbos, made anew and empty."""
    located = locate_database(settings)
    if not yes and not _confirms(f"Drop all runs and workflows in {located}?"):
        click.echo("aexp: nothing was dropped", err=True)
        return 1
    run_on_loop(settings.loop, lambda: _reset(located))
    click.echo(f"{located} is empty", file=out())
    return 0


def _confirms(question: str) -> bool:
    """Whether a person says yes; anything else, and the end of input, is a no."""
    # Not click's own, which takes the end of input for an interrupt.
    click.echo(f"{question} [y/N]: ", nl=False, err=True)
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        click.echo(err=True)
    return answer.strip().lower() in {"y", "yes"}


async def _reset(located: DatabaseUrl) -> None:
    # First of all, so that a database which is not ours is refused and not emptied.
    await ensure_schema(located, create=True)
    async with connected(located) as connection, connection.transaction():
        await connection.execute("DROP SCHEMA aexp CASCADE")
        await connection.execute("DROP SCHEMA dbos CASCADE")
    await ensure_schema(located)
