"""What is written where a server that crashes does not recover it."""

from __future__ import annotations

from dbos import DBOS

from aexp import current_runtime
from tests.support.planted.orders import insert_shipment, shipping


@DBOS.step()
async def ship(item: int) -> int:
    await current_runtime().database.pool.execute("ALTER TABLE shipments SET UNLOGGED")
    await insert_shipment(item)
    return item


@DBOS.workflow()
async def unlogged() -> str:
    """No crash of a process empties its table; a crash of the server does."""
    await ship(1)
    return "shipped"


SCENARIO = shipping("unlogged", unlogged, items=1)
