"""A laboratory whose server may be stopped, with a copy of what is in the one that may not."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from aexp.crash.experiment.laboratory import Laboratory
from aexp.crash.experiment.private_server import open_private_server
from aexp.crash.proxy.server import find_server
from aexp.database.copies import open_copies
from aexp.database.transfer import transfer

__all__ = ["open_stoppable"]

_ORIGIN = "aexp_origin"


@asynccontextmanager
async def open_stoppable(laboratory: Laboratory) -> AsyncIterator[Laboratory]:
    """Open one like ``laboratory`` on a server of its own, for one experiment at a time.

    It has what the template has there. Raises DatabaseError, EmbeddedServerError.
    """
    async with open_private_server() as server:
        target = server.url.with_name(_ORIGIN)
        theirs = laboratory.databases
        with tempfile.TemporaryDirectory(prefix="", dir=laboratory.terms.workers.folder) as folder:
            # Of a copy: to the template itself nobody may be connected when it is copied.
            async with theirs.copy() as url:
                await transfer(
                    url,
                    target,
                    Path(folder),
                    origin=theirs.origin,
                    whose="of --postgres",
                    way_out="leave out --postgres",
                )
        async with open_copies(server.url, prefix="aexp_crash", origin=_ORIGIN) as databases:
            yield replace(
                laboratory,
                databases=databases,
                server=await find_server(server.url),
                private=server,
            )
