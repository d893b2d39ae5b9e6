"""The service that takes the money. `PAYMENTS_URL` says where it is."""

import os

import aiohttp
from dbos import DBOS


@DBOS.step()
async def charge(order: str, cents: int) -> str | None:
    """Charge the card of an order; return the id of the charge, or None when it is declined.

    A process that is killed while it waits for the answer asks again, with the same key: the
    service charges once.
    """
    key = {"Idempotency-Key": f"charge-{DBOS.workflow_id}"}
    body = {"order": order, "cents": cents}
    async with (
        aiohttp.ClientSession(os.environ["PAYMENTS_URL"], headers=key) as session,
        session.post("/charges", json=body) as response,
    ):
        if response.status == 402:
            return None
        response.raise_for_status()
        return str((await response.json())["id"])
