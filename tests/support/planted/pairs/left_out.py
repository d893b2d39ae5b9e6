"""What is left out, or done otherwise, where nothing excuses it; and right workflows like these."""

from __future__ import annotations

from dbos import DBOS, SetWorkflowID, WorkflowHandleAsync

from aexp import effect
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

# --- another way from memory


@DBOS.step(name="excuse_charge")
async def charge(order: str) -> bool:
    await ask("INSERT INTO refunds VALUES (%s)", f"{order} {DBOS.step_id}")
    kept.append(order)
    return True


@DBOS.workflow()
async def wrong_second_way() -> str:
    """Whether to do it again is decided by memory."""
    await tables()
    await charge("A17")
    if "A17" not in kept:
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
    if kept:
        await note("told")
    return "done"


@DBOS.workflow(name="excuse_child")
async def count_of_memory() -> int:
    await keep("one")
    await note("between")
    return len(kept)


@DBOS.workflow()
async def wrong_child_left_out() -> str:
    """Its child is started only by who remembers."""
    await keep("remembered")
    if kept:
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
    kept.append(str(number))
    return number


@DBOS.workflow()
async def wrong_reference() -> str:
    """What a row refers to comes from memory."""
    await tables()
    await pay_and_keep("A17")
    await line(int(kept[0]) if kept else None)
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
