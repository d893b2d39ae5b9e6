"""What lies on the shelves."""

import psycopg
from dbos import DBOS

from shop.database import connect, database_url


@DBOS.step()
async def reserve(order: str, item: str, pieces: int) -> bool:
    """Take pieces from the shelf for an order; return whether there were enough.

    The row of the reservation and the new stock are one commit: a process that is killed after it,
    and runs this step again, finds the row and takes nothing more.
    """
    async with await connect() as connection:
        reserved = await connection.execute(
            "INSERT INTO reservations VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            [order, item, pieces],
        )
        if reserved.rowcount == 0:
            return True
        taken = await connection.execute(
            "UPDATE stock SET pieces = pieces - %s WHERE item = %s AND pieces >= %s",
            [pieces, item, pieces],
        )
        if taken.rowcount == 0:
            await connection.rollback()
            return False
    return True


@DBOS.step()
async def release(order: str) -> None:
    """Put back what was reserved for an order, if that was not done yet."""
    async with await connect() as connection:
        await connection.execute(
            "WITH back AS (DELETE FROM reservations WHERE order_id = %s RETURNING item, pieces)"
            " UPDATE stock SET pieces = stock.pieces + back.pieces FROM back"
            " WHERE stock.item = back.item",
            [order],
        )


@DBOS.workflow()
def restock(delivery: dict[str, int]) -> None:
    """Put a delivery on the shelves, item by item."""
    for item, pieces in delivery.items():
        put_on_shelf(item, pieces)


@DBOS.step()
def put_on_shelf(item: str, pieces: int) -> None:
    """Add pieces of an item, once in a delivery."""
    with psycopg.connect(database_url()) as connection:
        noted = connection.execute(
            "INSERT INTO deliveries VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            [DBOS.workflow_id, item, pieces],
        )
        if noted.rowcount == 1:
            connection.execute(
                "INSERT INTO stock VALUES (%s, %s)"
                " ON CONFLICT (item) DO UPDATE SET pieces = stock.pieces + excluded.pieces",
                [item, pieces],
            )
