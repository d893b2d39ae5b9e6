"""Bugs beside something that might excuse them, and right workflows with the same excuse."""

from __future__ import annotations

from dbos import DBOS

from tests.support.planted.pairs.payments import (
    hand,
    insert_payment,
    keep,
    kept,
    make_id,
    note,
    pay_once,
    save,
    tables,
)
from tests.support.planted.pairs.steps import ask

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
    for each in kept:
        await ask("INSERT INTO refunds VALUES (%s)", each)
    return len(kept)


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


@DBOS.workflow()
async def wrong_total_beside_an_id() -> str:
    """The total comes from memory, and the id is nobody's business."""
    await make_id()
    await tables()
    await keep("one")
    await keep("two")
    await save(len(kept))
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
    return order, f"{len(kept)} items"


@DBOS.workflow()
async def right_pair() -> tuple[str, str]:
    order = await make_id()
    return order, await note("2 items")


@DBOS.workflow(name="excuse_telling")
async def event_of_memory(order: str) -> None:
    await keep("one")
    await keep("two")
    await DBOS.set_event_async("total", len(kept))


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
