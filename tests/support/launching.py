"""A program that makes, launches and fills DBOS at its import, and needs its database there."""

from __future__ import annotations

import json
import os
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, Serializer


class Json(Serializer):
    """Writes what nobody else reads."""

    def serialize(self, data: Any) -> str:
        return f"mine:{json.dumps(data)}"

    def deserialize(self, serialized_data: str) -> Any:
        return json.loads(serialized_data.removeprefix("mine:"))

    def name(self) -> str:
        return "mine"


URL = os.environ["DBOS_SYSTEM_DATABASE_URL"]
engine = sa.create_engine(sa.make_url(URL).set(drivername="postgresql+psycopg"))
with engine.begin() as connection:
    connection.execute(sa.text("CREATE TABLE IF NOT EXISTS sales (number serial)"))

config: DBOSConfig = {"name": "shop", "system_database_url": URL, "serializer": Json()}
DBOS(config=config)
DBOS.reset_system_database()
DBOS.launch()
DBOS.register_queue("mails", worker_concurrency=2)


@DBOS.workflow()
async def mail(number: int) -> list[int]:
    return [number]


@DBOS.step()
async def insert() -> int:
    with engine.begin() as connection:
        sql = sa.text("INSERT INTO sales DEFAULT VALUES RETURNING number")
        return int(connection.execute(sql).scalar_one())


@DBOS.workflow()
async def sell() -> dict[str, Any]:
    await insert()
    handle = await DBOS.enqueue_workflow_async("mails", mail, 7)
    return {"mailed": await handle.get_result()}
