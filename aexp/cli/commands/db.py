"""``aexp db``: the database behind the runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from aexp.cli.groups import Group
from aexp.cli.options import with_settings

if TYPE_CHECKING:
    from aexp.settings import Settings

__all__ = ["db"]


@click.group(cls=Group)
def db() -> None:
    """The database: where it is, start and stop the embedded one, migrate, look inside."""  # noqa: D401


@db.command
@with_settings
def url(settings: Settings) -> int:
    """Print the database's URL, password included; starts the embedded server."""
    from aexp.cli.actions import db

    return db.url(settings)


@db.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@with_settings
def psql(settings: Settings, arguments: tuple[str, ...]) -> int:
    """Open psql on the database; ARGUMENTS go to psql."""
    from aexp.cli.actions import db

    return db.psql(settings, arguments)


@db.command
@with_settings
def start(settings: Settings) -> int:
    """Start the embedded server; it stays up until `aexp db stop`."""
    from aexp.cli.actions import db

    return db.start(settings)


@db.command
@with_settings
def stop(settings: Settings) -> int:
    """Stop the embedded server. Its data stays."""
    from aexp.cli.actions import db

    return db.stop(settings)


@db.command
@click.option("--create", is_flag=True, help="Make the database when the server has none such.")
@with_settings
def migrate(settings: Settings, create: bool) -> int:
    """Bring the tables of DBOS and of aexp to this version."""
    from aexp.cli.actions import db

    return db.migrate(settings, create=create)


@db.command
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_settings
def reset(settings: Settings, yes: bool) -> int:
    """Drop every run and workflow: schemas aexp and dbos, made anew and empty."""
    from aexp.cli.actions import db

    return db.reset(settings, yes=yes)
