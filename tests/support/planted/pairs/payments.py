"""What the pairs about excuses have in common: tables, and steps that remember or write."""

from __future__ import annotations

import uuid

from dbos import DBOS

from tests.support.planted.pairs.steps import ask

# What a process remembers, and loses.
kept: list[str] = []

_LINES = (
    "CREATE TABLE IF NOT EXISTS lines"
    " (id serial PRIMARY KEY, payment int REFERENCES Payments, name text)"
)


@DBOS.step(name="excuse_tables")
async def tables() -> None:
    for statement in (
        "CREATE TABLE IF NOT EXISTS done (order_id text PRIMARY KEY)",
        "CREATE TABLE IF NOT EXISTS Payments (id serial PRIMARY KEY, order_id text)",
        "CREATE TABLE IF NOT EXISTS refunds (order_id text PRIMARY KEY)",
        _LINES,
        "CREATE TABLE IF NOT EXISTS known (key text PRIMARY KEY, value text)",
        "CREATE TABLE IF NOT EXISTS totals (total numeric(30, 8))",
    ):
        await ask(statement)


@DBOS.step(name="excuse_make_id")
async def make_id() -> str:
    return str(uuid.uuid4())


@DBOS.step(name="excuse_hand")
async def hand(given: object) -> None:
    """Take what another step has made."""


@DBOS.step(name="excuse_keep")
async def keep(what: str) -> None:
    kept.append(what)


@DBOS.step(name="excuse_note")
async def note(what: str) -> str:
    return what


async def insert_payment(order: str) -> int:
    added = await ask("INSERT INTO Payments (order_id) VALUES (%s) RETURNING id", order)
    assert isinstance(added, int)
    return added


@DBOS.step(name="excuse_pay_once")
async def pay_once(order: str) -> int:
    known = await ask("SELECT id FROM Payments WHERE order_id = %s", order)
    return known if isinstance(known, int) else await insert_payment(order)


@DBOS.step(name="excuse_save")
async def save(total: int) -> None:
    await ask("INSERT INTO totals VALUES (%s)", total)
