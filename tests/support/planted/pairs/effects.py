"""Effects that happen twice, or in the body of a workflow, and right ones."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import psycopg
from dbos import DBOS

from aexp import effect
from tests.support.planted.pairs.steps import ask, fetch

NOTES = Path(tempfile.gettempdir(), "planted-notes.txt")


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


@DBOS.step()
def insert_letter() -> None:
    with psycopg.connect(os.environ["DBOS_SYSTEM_DATABASE_URL"], autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS letters (text text)")
        connection.execute("INSERT INTO letters VALUES ('Dear Ada')")


@DBOS.workflow()
def wrong_sync() -> str:
    insert_letter()
    return "sent"


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
