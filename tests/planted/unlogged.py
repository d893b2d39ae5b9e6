"""What is written where a server that crashes does not recover it."""

from __future__ import annotations

from dbos import DBOS

from aexp import current_runtime
from tests.planted.orders import insert_shipment, shipping


@DBOS.step()
async def ship(item: int) -> int:
    await current_runtime().database.pool.execute("ALTER TABLE shipments SET UNLOGGED")
    await insert_shipment(item)
    return item


@DBOS.workflow()
async def unlogged() -> str:
    await ship(1)
    return "shipped"


@DBOS.step()
async def skimp() -> None:
    await current_runtime().database.pool.execute(
        "ALTER TABLE dbos.operation_outputs SET UNLOGGED"
    )


@DBOS.workflow()
async def skimped() -> str:
    """Its checkpoints do not outlive the server."""
    await skimp()
    return "done"


SCENARIO = shipping("unlogged", unlogged, items=1)
"""A crash of the server empties the table, while no crash of a process does."""
