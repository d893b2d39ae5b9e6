"""What a step only keeps in memory for a later one is gone with its process."""

from __future__ import annotations

from dbos import DBOS

from tests.support.planted.orders import insert_shipment, shipping

_basket: list[int] = []


@DBOS.step()
async def collect(item: int) -> None:
    _basket.append(item)


@DBOS.step()
async def ship() -> str:
    for item in _basket:
        await insert_shipment(item)
    return "shipped"


@DBOS.workflow()
async def forgetful() -> str:
    await collect(1)
    return await ship()


SCENARIO = shipping("lost-effect", forgetful, items=1)
