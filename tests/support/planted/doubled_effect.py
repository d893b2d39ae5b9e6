"""The effect of a plain step is not the step's checkpoint: a kill between them doubles it."""

from __future__ import annotations

from dbos import DBOS

from tests.support.planted.orders import insert_shipment, shipping


@DBOS.step()
async def ship(item: int) -> int:
    await insert_shipment(item)
    return item


@DBOS.workflow()
async def doubled() -> int:
    return await ship(1)


SCENARIO = shipping("doubled-effect", doubled, items=1)
