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
mails = DBOS.register_queue("mails", worker_concurrency=2)


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
    by_name = await DBOS.enqueue_workflow_async("mails", mail, 7)
    by_object = await mails.enqueue_async(mail, 8)
    mailed = [*await by_name.get_result(), *await by_object.get_result()]
    return {"mailed": mailed, "at_once": await mails.get_worker_concurrency_async()}


@DBOS.workflow()
def notify(number: int) -> list[int]:
    return [number]


@DBOS.workflow()
def sell_in_a_thread() -> dict[str, Any]:
    mailed = mails.enqueue(notify, 9).get_result(polling_interval_sec=0.05)
    return {"mailed": mailed, "at_once": mails.worker_concurrency}
