"""Workflows in pairs: one that is wrong, and a right one that is as like it as possible."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import random
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import psycopg
from dbos import (
    DBOS,
    DBOSClient,
    EnqueueOptions,
    SetWorkflowID,
    SetWorkflowTimeout,
)

from aexp import effect

NOTES = Path(tempfile.gettempdir(), "planted-notes.txt")
seen = 0
current: contextvars.ContextVar[str] = contextvars.ContextVar("current", default="nobody")


async def ask(statement: str, *values: object) -> object:
    url = os.environ["DBOS_SYSTEM_DATABASE_URL"]
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        cursor = await connection.execute(statement.encode(), values)
        row = await cursor.fetchone() if cursor.description else None
        return row[0] if row else None


@DBOS.step()
async def fetch(item: object) -> object:
    return item


# --- rows


@DBOS.step()
async def prepare() -> None:
    await ask("CREATE TABLE IF NOT EXISTS payments (order_id text UNIQUE, cents int)")
    await ask("CREATE TABLE IF NOT EXISTS letters (number serial, text text)")
    await ask("INSERT INTO payments VALUES ('open', 0) ON CONFLICT DO NOTHING")


@DBOS.step()
async def write_letter() -> None:
    await ask("INSERT INTO letters (text) VALUES ('Dear Ada')")


@DBOS.workflow()
async def wrong_insert() -> str:
    await prepare()
    await write_letter()
    return "sent"


@DBOS.step()
async def pay_once(order_id: str) -> None:
    await ask("INSERT INTO payments VALUES (%s, 100) ON CONFLICT DO NOTHING", order_id)


@DBOS.workflow()
async def right_insert() -> str:
    await prepare()
    await pay_once("A17")
    return "sent"


@DBOS.step()
async def add_to_open() -> object:
    return await ask(
        "UPDATE payments SET cents = cents + 100 WHERE order_id = 'open' RETURNING cents"
    )


@DBOS.workflow()
async def wrong_update() -> object:
    await prepare()
    return await add_to_open()


@DBOS.step()
async def set_open() -> object:
    return await ask("UPDATE payments SET cents = 100 WHERE order_id = 'open' RETURNING cents")


@DBOS.workflow()
async def right_update() -> object:
    await prepare()
    return await set_open()


# --- effects outside PostgreSQL


@DBOS.workflow()
async def wrong_body() -> str:
    with NOTES.open("a") as file:  # noqa: ASYNC230 - the bug
        file.write("from the body\n")
    await fetch(1)
    return "noted"


@DBOS.workflow()
async def right_body() -> str:
    handler = logging.FileHandler(NOTES, delay=True)
    logger = logging.getLogger("planted.pairs")
    logger.addHandler(handler)
    logger.warning("a log line is no effect")
    handler.close()
    logger.removeHandler(handler)
    Path(__file__).read_text()  # noqa: ASYNC240 - a moment's blocking
    await fetch(1)
    return "noted"


# --- what is kept in memory


@DBOS.step()
async def look(item: int) -> int:
    global seen  # noqa: PLW0603 - the bug
    seen += 1
    return item


@DBOS.workflow()
async def wrong_event() -> str:
    for item in range(2):
        await look(item)
    await DBOS.set_event_async("seen", seen)
    return "counted"


@DBOS.workflow()
async def right_event() -> str:
    looked = [await look(item) for item in range(2)]
    await DBOS.set_event_async("seen", len(looked))
    return "counted"


@DBOS.step()
async def invent() -> str:
    return str(uuid.uuid4())


@DBOS.workflow()
async def wrong_event_beside_an_id() -> str:
    """As wrong, with an id that no two runs share."""
    order = await invent()
    await look(1)
    await DBOS.set_event_async("seen", seen)
    return order


@DBOS.workflow()
async def right_event_beside_an_id() -> dict[str, object]:
    order = await invent()
    await DBOS.set_event_async("order", order)
    return {"order": order, "at": time.time(), "paid": True}


@DBOS.step()
async def tell_twice(word: str) -> None:
    await DBOS.write_stream_async("words", word)


@DBOS.workflow()
async def wrong_stream() -> str:
    await tell_twice("one")
    return "told"


@DBOS.workflow()
async def right_stream() -> str:
    await fetch("one")
    await DBOS.write_stream_async("words", "one")
    return "told"


# --- children


@DBOS.workflow()
async def child(item: object) -> object:
    return await fetch(item)


async def enqueue(workflow_id: str | None) -> None:
    options: EnqueueOptions = {"queue_name": "letters", "workflow_name": "child"}
    if workflow_id is not None:
        options["workflow_id"] = workflow_id
    client = DBOSClient(system_database_url=os.environ["DBOS_SYSTEM_DATABASE_URL"])
    try:
        await client.enqueue_async(options, "a")
    finally:
        await asyncio.to_thread(client.destroy)


@DBOS.step()
async def order_child() -> None:
    await enqueue(None)


@DBOS.workflow()
async def wrong_child() -> str:
    """A step that runs twice starts another one, whose id nobody knows."""
    await order_child()
    return "ordered"


@DBOS.step()
async def order_child_once(order_id: str) -> None:
    await enqueue(order_id)


@DBOS.workflow()
async def right_enqueuing() -> str:
    await order_child_once(f"{DBOS.workflow_id}-letter")
    return "ordered"


@DBOS.workflow()
async def right_child() -> object:
    with SetWorkflowID(await invent()):
        handle = await DBOS.start_workflow_async(child, "a")
    return await handle.get_result(polling_interval_sec=0.05)


@DBOS.workflow()
async def waiting() -> None:
    await DBOS.recv_async("never", timeout_seconds=3)


@DBOS.workflow()
async def right_timeout() -> str:
    with SetWorkflowTimeout(0.3):
        handle = await DBOS.start_workflow_async(waiting)
    try:
        await handle.get_result(polling_interval_sec=0.05)
    except Exception:
        return "gave up"
    return "answered"


@DBOS.step()
async def pause() -> str:
    await asyncio.sleep(0.4)
    return "paused"


@DBOS.workflow()
async def slow_child() -> str:
    return await pause()


async def parts() -> list[object]:
    return [await fetch(part) for part in range(2)]


@DBOS.workflow()
async def wrong_awaiting() -> list[object]:
    handle = await DBOS.start_workflow_async(slow_child)
    return list(await asyncio.gather(handle.get_result(polling_interval_sec=0.05), parts()))


@DBOS.workflow()
async def right_awaiting() -> list[object]:
    handle = await DBOS.start_workflow_async(slow_child)
    return list(await asyncio.gather(DBOS.get_result_async(handle.get_workflow_id()), parts()))


# --- which call a checkpoint answers


@DBOS.step()
async def publish(name: str) -> str:
    return name


async def after(delay_s: float, name: str) -> str:
    await asyncio.sleep(delay_s)
    return name


@DBOS.workflow()
async def wrong_order() -> list[str]:
    """Who is ready first is published first: another one in a process that hashes otherwise."""
    names = list({f"tree-{number}" for number in range(50)})[:3]
    tasks: list[Awaitable[str]] = [after(place / 10, name) for place, name in enumerate(names)]
    return sorted([await publish(await ready) for ready in asyncio.as_completed(tasks)])


@DBOS.workflow()
async def right_order() -> list[str]:
    names = await asyncio.gather(*(after(random.random() / 20, name) for name in "abc"))
    return sorted([await publish(name) for name in names])


@DBOS.workflow()
async def wrong_key() -> str:
    await fetch(1)
    await publish(str(uuid.uuid4()))
    return "published"


@DBOS.workflow()
async def right_key() -> str:
    key = await invent()
    await publish(key)
    return "published"


@DBOS.step()
async def log_in() -> str:
    current.set("Ada")
    return "Ada"


@DBOS.workflow()
async def wrong_context() -> str:
    """What the step has set is lost when its checkpoint answers."""
    log_in_here: Callable[[], Awaitable[str]] = log_in
    await log_in_here()
    await publish(current.get())
    return "published"


@DBOS.workflow()
async def right_context() -> str:
    current.set(await log_in())
    await publish(current.get())
    return "published"


# --- right ones that differ from run to run


@DBOS.step()
async def is_ready(look_no: int) -> bool:
    return random.random() < 0.4 or look_no > 8


@DBOS.workflow()
async def right_polling() -> str:
    """As many steps as it takes."""
    look_no = 0
    while not await is_ready(look_no):
        look_no += 1
    return "ready"


@DBOS.step()
async def live_price() -> int:
    return random.randrange(1_000)


@DBOS.workflow()
async def right_branch() -> str:
    """Another way for another answer of a step."""
    if await live_price() > 500:
        await publish("dear")
        return "dear"
    return "cheap"


@DBOS.workflow()
def right_sync() -> list[object]:
    """A sync one."""
    done = []
    for item in range(2):
        DBOS.sleep(0.01)
        DBOS.set_event("done", item)
        done.append(item)
    return list(done)


@DBOS.step()
def insert_letter() -> None:
    with psycopg.connect(os.environ["DBOS_SYSTEM_DATABASE_URL"], autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS letters (text text)")
        connection.execute("INSERT INTO letters VALUES ('Dear Ada')")


@DBOS.workflow()
def wrong_sync() -> str:
    insert_letter()
    return "sent"


# --- how it ends when it is left alone


@DBOS.step()
async def need_a_key() -> str:
    return os.environ["A_KEY_THAT_NOBODY_SET"]


@DBOS.workflow()
async def wrong_alone() -> str:
    return await need_a_key()


@DBOS.workflow()
async def wrong_clock() -> float:
    await fetch(1)
    return time.time()


@DBOS.step()
async def read_clock() -> float:
    return time.time()


@DBOS.workflow()
async def right_clock() -> float:
    return await read_clock()


# --- effects that are declared


@DBOS.step()
async def charge(order: str) -> None:
    await effect("charge", key=order)


@DBOS.workflow()
async def wrong_effect() -> str:
    await charge("A17")
    return "charged"


@DBOS.step()
async def charge_by_key(order: str) -> None:
    await effect("charge", key=order, idempotent=True)


@DBOS.workflow()
async def right_effect() -> str:
    await charge_by_key("A17")
    return "charged"
