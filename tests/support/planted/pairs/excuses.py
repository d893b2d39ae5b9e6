"""Bugs beside something that might excuse them, and right workflows with the same excuse."""

from __future__ import annotations

import uuid

from dbos import DBOS, SetWorkflowID, WorkflowHandleAsync

from aexp import effect
from tests.support.planted.pairs.steps import ask

_kept: list[str] = []


async def ask_all(*statements: str) -> None:
    for statement in statements:
        await ask(statement)


@DBOS.step(name="excuse_tables")
async def tables() -> None:
    await ask_all(
        "CREATE TABLE IF NOT EXISTS done (order_id text PRIMARY KEY)",
        "CREATE TABLE IF NOT EXISTS Payments (id serial PRIMARY KEY, order_id text)",
        "CREATE TABLE IF NOT EXISTS refunds (order_id text PRIMARY KEY)",
        "CREATE TABLE IF NOT EXISTS lines (id serial PRIMARY KEY,"
        " payment int REFERENCES Payments, name text)",
        "CREATE TABLE IF NOT EXISTS known (key text PRIMARY KEY, value text)",
        "CREATE TABLE IF NOT EXISTS totals (total numeric(30, 8))",
    )


@DBOS.step(name="excuse_make_id")
async def make_id() -> str:
    return str(uuid.uuid4())


@DBOS.step(name="excuse_hand")
async def hand(given: object) -> None:
    """Take what another step has made."""


@DBOS.step(name="excuse_keep")
async def keep(what: str) -> None:
    _kept.append(what)


@DBOS.step(name="excuse_note")
async def note(what: str) -> str:
    return what


async def insert_payment(order: str) -> int:
    added = await ask("INSERT INTO Payments (order_id) VALUES (%s) RETURNING id", order)
    assert isinstance(added, int)
    return added


# --- the step that did it tells of it


@DBOS.step(name="excuse_pay")
async def pay(order: str) -> int:
    return await insert_payment(order)


@DBOS.workflow()
async def wrong_capital() -> str:
    """A row twice, and its number is told; the table's name has a capital."""
    await tables()
    await pay("A17")
    return "paid"


@DBOS.step(name="excuse_pay_once")
async def pay_once(order: str) -> int:
    known = await ask("SELECT id FROM Payments WHERE order_id = %s", order)
    return known if isinstance(known, int) else await insert_payment(order)


@DBOS.workflow()
async def right_capital() -> str:
    await tables()
    await pay_once("A17")
    return "paid"


@DBOS.step(name="excuse_mark_then_pay")
async def mark_then_pay(order: str) -> str:
    marked = await ask("INSERT INTO done VALUES (%s) ON CONFLICT DO NOTHING RETURNING 1", order)
    if marked is None:
        return "paid already"
    await insert_payment(order)
    return "paid"


@DBOS.workflow()
async def wrong_mark() -> str:
    """It marks an order as done before it is, and says so the second time."""
    await tables()
    await mark_then_pay("A17")
    return "done"


@DBOS.step(name="excuse_flush")
async def flush() -> int:
    for each in _kept:
        await ask("INSERT INTO refunds VALUES (%s)", each)
    return len(_kept)


@DBOS.workflow()
async def wrong_flush_that_counts() -> str:
    """What was kept in memory is lost, and the step says how much was left."""
    await tables()
    await keep("one")
    await keep("two")
    await flush()
    return "flushed"


@DBOS.step(name="excuse_refund")
async def refund(order: str) -> None:
    await ask("INSERT INTO refunds VALUES (%s)", order)


@DBOS.workflow()
async def wrong_decline() -> str:
    """It fails the second time, since its first was half done, and that is taken for an answer."""
    await tables()
    try:
        await refund("A17")
    except Exception:
        return "declined"
    return "refunded"


@DBOS.step(name="excuse_refund_once")
async def refund_once(order: str) -> bool:
    added = await ask("INSERT INTO refunds VALUES (%s) ON CONFLICT DO NOTHING RETURNING 1", order)
    return added is not None


@DBOS.workflow()
async def right_decline() -> str:
    """Its step tells whether the row is new; nothing follows from that."""
    await tables()
    await refund_once("A17")
    return "refunded"


# --- an id that no two runs share


@DBOS.step(name="excuse_mark_and_refund")
async def mark_and_refund(order: str) -> None:
    if await ask("INSERT INTO done VALUES (%s) ON CONFLICT DO NOTHING RETURNING 1", order):
        await ask("INSERT INTO refunds VALUES (%s)", order)


@DBOS.workflow()
async def wrong_row_beside_a_used_id() -> str:
    """A row is lost; an id goes to a step that writes nowhere."""
    await hand(await make_id())
    await tables()
    await mark_and_refund("A17")
    return "done"


@DBOS.step(name="excuse_save")
async def save(total: int) -> None:
    await ask("INSERT INTO totals VALUES (%s)", total)


@DBOS.workflow()
async def wrong_total_beside_an_id() -> str:
    """The total comes from memory, and the id is nobody's business."""
    await make_id()
    await tables()
    await keep("one")
    await keep("two")
    await save(len(_kept))
    return "saved"


@DBOS.step(name="excuse_store")
async def store(key: str, value: str) -> None:
    await ask(
        "INSERT INTO known VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        key,
        value,
    )


@DBOS.step(name="excuse_add")
async def add() -> None:
    await ask("UPDATE known SET value = value::int + 10 WHERE key = 'balance'")


@DBOS.workflow()
async def wrong_cell_beside_an_id() -> str:
    """Ten is added twice, in a column in which an id stands in another row."""
    await tables()
    await store("run", await make_id())
    await store("balance", "0")
    await add()
    return "added"


@DBOS.workflow()
async def right_cells() -> str:
    await tables()
    await store("run", await make_id())
    await store("balance", "10")
    return "stored"


@DBOS.workflow()
async def wrong_pair() -> tuple[str, str]:
    """Half of what it returns is from memory, half is an id."""
    order = await make_id()
    await keep("one")
    await keep("two")
    return order, f"{len(_kept)} items"


@DBOS.workflow()
async def right_pair() -> tuple[str, str]:
    order = await make_id()
    return order, await note("2 items")


@DBOS.workflow(name="excuse_telling")
async def event_of_memory(order: str) -> None:
    await keep("one")
    await keep("two")
    await DBOS.set_event_async("total", len(_kept))


@DBOS.workflow()
async def wrong_event_of_a_child_with_an_id() -> str:
    """A child's event is from memory; what it was given is another id in each run."""
    child = await DBOS.start_workflow_async(event_of_memory, await make_id())
    await DBOS.get_result_async(child.workflow_id)
    return "told"


@DBOS.workflow(name="excuse_echo")
async def echo(order: str) -> None:
    await note("heard")
    await DBOS.set_event_async("order", order)


@DBOS.workflow()
async def right_event_of_a_child_with_an_id() -> str:
    child = await DBOS.start_workflow_async(echo, await make_id())
    await DBOS.get_result_async(child.workflow_id)
    return "told"


# --- another way from memory


@DBOS.step(name="excuse_charge")
async def charge(order: str) -> bool:
    await ask("INSERT INTO refunds VALUES (%s)", f"{order} {DBOS.step_id}")
    _kept.append(order)
    return True


@DBOS.workflow()
async def wrong_second_way() -> str:
    """Whether to do it again is decided by memory."""
    await tables()
    await charge("A17")
    if "A17" not in _kept:
        await charge("A17")
    return "charged"


@DBOS.workflow()
async def right_second_way() -> str:
    await tables()
    if not await charge("A17"):
        await charge("A17")
    return "charged"


@DBOS.workflow()
async def wrong_step_left_out() -> str:
    """Its last step is called only by who remembers."""
    await keep("remembered")
    if _kept:
        await note("told")
    return "done"


@DBOS.workflow(name="excuse_child")
async def count_of_memory() -> int:
    await keep("one")
    await note("between")
    return len(_kept)


@DBOS.workflow()
async def wrong_child_left_out() -> str:
    """Its child is started only by who remembers."""
    await keep("remembered")
    if _kept:
        await DBOS.start_workflow_async(right_child_of_all)
    return "done"


@DBOS.workflow(name="excuse_right_child")
async def right_child_of_all() -> str:
    return await note("child")


@DBOS.workflow()
async def right_way() -> str:
    """What decides is what a step returned."""
    if await note("remembered"):
        await DBOS.start_workflow_async(right_child_of_all)
        await note("told")
    return "done"


@DBOS.workflow()
async def wrong_result_that_nobody_awaits() -> str:
    """What a child returns comes from memory, and its parent does not ask."""
    await DBOS.start_workflow_async(count_of_memory)
    return "started"


# --- effects and rows


@DBOS.step(name="excuse_mark_then_effect")
async def mark_then_effect(order: str) -> None:
    await tables_of_done()
    if await ask("INSERT INTO done VALUES (%s) ON CONFLICT DO NOTHING RETURNING 1", order):
        await effect("charge", key=order)


async def tables_of_done() -> None:
    await ask("CREATE TABLE IF NOT EXISTS done (order_id text PRIMARY KEY)")


@DBOS.workflow()
async def wrong_effect_noted_first() -> str:
    """An effect is noted as done before it is, and never happens."""
    await mark_then_effect("A17")
    return "charged"


@DBOS.step(name="excuse_effect_then_mark")
async def effect_then_mark(order: str) -> None:
    await tables_of_done()
    await effect("charge", key=order, idempotent=True)
    await ask("INSERT INTO done VALUES (%s) ON CONFLICT DO NOTHING RETURNING 1", order)


@DBOS.workflow()
async def right_effect_noted_afterwards() -> str:
    await effect_then_mark("A17")
    return "charged"


@DBOS.step(name="excuse_line")
async def line(payment: int | None) -> None:
    await ask("INSERT INTO lines (payment, name) VALUES (%s, 'book')", payment)


@DBOS.step(name="excuse_pay_and_keep")
async def pay_and_keep(order: str) -> int:
    number = await insert_payment(order)
    _kept.append(str(number))
    return number


@DBOS.workflow()
async def wrong_reference() -> str:
    """What a row refers to comes from memory."""
    await tables()
    await pay_and_keep("A17")
    await line(int(_kept[0]) if _kept else None)
    return "noted"


@DBOS.workflow()
async def right_reference() -> str:
    await tables()
    await line(await pay_once("A17"))
    return "noted"


@DBOS.step(name="excuse_deposit")
async def deposit() -> None:
    await ask("UPDATE totals SET total = total + 0.00000001")


@DBOS.workflow()
async def wrong_digits() -> str:
    """A number with more digits than a float has is added to twice."""
    await tables()
    await save(123456789012345)
    await deposit()
    return "added"


@DBOS.workflow()
async def right_handle() -> int:
    """The handle of a child that a step is given is of another type on recovery."""
    with SetWorkflowID(f"{DBOS.workflow_id}-child"):
        handle: WorkflowHandleAsync[str] = await DBOS.start_workflow_async(right_child_of_all)
    await hand(handle)
    await note("handed")
    return 1


# --- messages


@DBOS.step(name="excuse_tell")
async def tell(to: str, key: str | None) -> None:
    await DBOS.send_async(to, "go", "go", idempotency_key=key)


@DBOS.workflow(name="excuse_listening")
async def listening() -> int:
    heard = 0
    while await DBOS.recv_async("go", timeout_seconds=1.5) is not None:
        heard += 1
    return heard


@DBOS.workflow()
async def wrong_message() -> str:
    """Its step sends a message without a key."""
    await make_id()
    child = await DBOS.start_workflow_async(listening)
    await tell(child.workflow_id, None)
    return "told"


@DBOS.workflow()
async def right_message() -> str:
    await make_id()
    child = await DBOS.start_workflow_async(listening)
    await tell(child.workflow_id, f"{child.workflow_id} go")
    return "told"
