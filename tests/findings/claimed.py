"""The smallest workflow: its claim from the queue is all that matters."""

from __future__ import annotations

from dbos import DBOS


@DBOS.workflow()
async def claimed() -> str:
    return "done"
