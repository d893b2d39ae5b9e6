"""Sell a mug: `python -m shop ORDER`. Give the same order again after a crash, and it goes on."""

import asyncio
import sys

from dbos import DBOS, SetWorkflowID

from shop.checkout import checkout
from shop.database import database_url, deploy


async def sell(order: str) -> str:
    """Check an order out, or go on with one that was begun."""
    DBOS(config={"name": "shop", "system_database_url": database_url()})
    DBOS.launch()
    deploy(database_url())
    with SetWorkflowID(f"checkout-{order}"):
        handle = await DBOS.start_workflow_async(checkout, order, "mug")
    return await handle.get_result()


if __name__ == "__main__":
    print(asyncio.run(sell(sys.argv[1])))
