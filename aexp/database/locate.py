"""Which database to use."""

from __future__ import annotations

from aexp.database import embedded
from aexp.database.url import DatabaseUrl
from aexp.settings import Settings

__all__ = ["locate_database"]


def locate_database(settings: Settings) -> DatabaseUrl:
    """The given URL, else that of the embedded server, which is started when it is not running.

    Blocks: call it before the event loop, or in a thread.
    """
    if settings.database_url is not None:
        return DatabaseUrl.parse(settings.database_url.get_secret_value())
    return embedded.start(settings.home)
