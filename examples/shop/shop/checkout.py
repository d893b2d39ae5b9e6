"""From an order to a parcel."""

from dbos import DBOS

from shop.database import SHIPPING, connect
from shop.payments import charge
from shop.stock import release, reserve

PRICE_CENTS = 1250


@DBOS.workflow()
async def checkout(order: str, item: str, pieces: int = 1) -> str:
    """Reserve, charge, and have it shipped; return what became of the order."""
    if not await reserve(order, item, pieces):
        return "sold out"
    charged = await charge(order, pieces * PRICE_CENTS)
    if charged is None:
        await release(order)
        return "declined"
    await confirm(order, charged)
    await DBOS.enqueue_workflow_async(SHIPPING, ship, order)
    return "paid"


@DBOS.step()
async def confirm(order: str, charged: str) -> None:
    """Note that an order is paid."""
    async with await connect() as connection:
        await connection.execute(
            "INSERT INTO orders VALUES (%s, %s, 'paid') ON CONFLICT DO NOTHING", [order, charged]
        )


@DBOS.workflow()
async def ship(order: str) -> str:
    """Pack a parcel and note that it has left."""
    label = await pack(order)
    await note_shipped(order)
    return label


@DBOS.step()
async def pack(order: str) -> str:
    """Make the parcel of an order, and return its label."""
    label = f"parcel-{order}"
    async with await connect() as connection:
        await connection.execute(
            "INSERT INTO parcels VALUES (%s, %s) ON CONFLICT DO NOTHING", [order, label]
        )
    return label


@DBOS.step()
async def note_shipped(order: str) -> None:
    """Note that the parcel of an order has left."""
    async with await connect() as connection:
        await connection.execute("UPDATE orders SET state = 'shipped' WHERE order_id = %s", [order])
