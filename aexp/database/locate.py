"""Which database to use."""

from __future__ import annotations

from pathlib import Path

from aexp.database import embedded
from aexp.database.cluster import home_of_socket
from aexp.database.url import DatabaseUrl
from aexp.errors import NoRuns
from aexp.settings import Settings

__all__ = ["embedded_home", "locate_database", "running_database"]


def locate_database(settings: Settings, *, only_known: bool = False) -> DatabaseUrl:
    """Return the given URL, else that of the embedded server, which is started unless it runs.

    ``only_known``: raise NoRuns where there is no embedded server yet, and make none. Raises
    UsageError, EmbeddedServerError. Blocks: call it before the event loop, or in a thread.
    """
    if settings.database_url is not None:
        return DatabaseUrl.parse(settings.database_url.get_secret_value())
    if only_known and not embedded.has_data(settings.home):
        raise NoRuns(settings.home)
    return embedded.start(settings.home)


def running_database(settings: Settings) -> DatabaseUrl | None:
    """Return the URL that :func:`locate_database` would, but start nothing: None where no URL is
    given and the embedded server does not run.
    """
    if settings.database_url is None and embedded.running_pid(settings.home) is None:
        return None
    return locate_database(settings)


def embedded_home(settings: Settings) -> Path | None:
    """Return the home of the embedded server that is meant; None when it is another server.

    A URL that `aexp db url` printed means the server of which it was printed.
    """
    if settings.database_url is None:
        return settings.home
    folder = DatabaseUrl.parse(settings.database_url.get_secret_value()).socket_folder
    return None if folder is None else home_of_socket(folder)
