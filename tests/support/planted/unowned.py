"""An event is set behind DBOS's back, which asks nobody whose workflow it is by now."""

from __future__ import annotations

import os

from dbos import DBOS

from aexp import current_runtime
from tests.support.planted.orders import insert_shipment, shipping


@DBOS.step()
async def ship(item: int) -> int:
    await insert_shipment(item)
    await current_runtime().database.pool.execute(
        "INSERT INTO dbos.workflow_events (workflow_uuid, key, value) VALUES ($1, 'shipped', $2)"
        " ON CONFLICT (workflow_uuid, key) DO UPDATE SET value = excluded.value",
        DBOS.workflow_id,
        str(os.getpid()),
    )
    return item


@DBOS.workflow()
async def unowned() -> int:
    return await ship(1)


SCENARIO = shipping("unowned", unowned, items=1)
