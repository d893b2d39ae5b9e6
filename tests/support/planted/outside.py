"""A workflow that books in a database of the shop's own, and takes no failure seriously."""

from __future__ import annotations

import os

import asyncpg
from dbos import DBOS


async def insert(statement: str) -> int:
    try:
        connection = await asyncpg.connect(os.environ["SHOP_URL"])
        try:
            await connection.execute("CREATE TABLE IF NOT EXISTS booked (by text, item int)")
            await connection.execute(statement, DBOS.workflow_id)
            count: int = await connection.fetchval("SELECT count(DISTINCT by) FROM booked")
            return count
        finally:
            await connection.close()
    except Exception:
        return 0


@DBOS.step()
async def book() -> int:
    return await insert(
        "INSERT INTO booked SELECT $1, 1 WHERE NOT EXISTS (SELECT FROM booked WHERE by = $1)"
    )


@DBOS.step()
async def book_again() -> int:
    return await insert("INSERT INTO booked VALUES ($1, 1)")


@DBOS.workflow()
async def sell() -> tuple[int, str | None]:
    return await book(), DBOS.workflow_id


@DBOS.workflow()
async def sell_twice() -> tuple[int, str | None]:
    return await book_again(), DBOS.workflow_id
