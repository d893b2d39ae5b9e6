"""What pairs have in common: steps that do what they say."""

from __future__ import annotations

import os
import uuid

import psycopg
from dbos import DBOS


async def ask(statement: str, *values: object) -> object:
    url = os.environ["DBOS_SYSTEM_DATABASE_URL"]
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        cursor = await connection.execute(statement.encode(), values)
        row = await cursor.fetchone() if cursor.description else None
        return row[0] if row else None


@DBOS.step()
async def fetch(item: object) -> object:
    return item


@DBOS.step()
async def invent() -> str:
    return str(uuid.uuid4())


@DBOS.step()
async def publish(name: str) -> str:
    return name
