"""What becomes of children, where their parents are well; and ways that bodies take."""

from __future__ import annotations

import os

from dbos import DBOS, DBOSClient, EnqueueOptions

from tests.support.planted.pairs.steps import ask, fetch, invent

_QUEUE = "family"
DBOS.register_queue(_QUEUE, polling_interval_sec=0.1)

gathered: list[int] = []


@DBOS.step()
async def take(order: str) -> None:
    """Fail the second time."""
    await ask("CREATE TABLE IF NOT EXISTS taken (order_id text PRIMARY KEY)")
    await ask("INSERT INTO taken VALUES (%s)", order)


@DBOS.step()
async def take_once(order: str) -> None:
    await ask("CREATE TABLE IF NOT EXISTS taken (order_id text PRIMARY KEY)")
    await ask("INSERT INTO taken VALUES (%s) ON CONFLICT DO NOTHING", order)


@DBOS.workflow()
async def taking(order: str) -> str:
    await take(order)
    return "taken"


@DBOS.workflow()
async def taking_once(order: str) -> str:
    await take_once(order)
    return "taken"


@DBOS.workflow()
async def wrong_forgotten() -> str:
    await DBOS.start_workflow_async(taking, "A17")
    return "accepted"


@DBOS.workflow()
async def right_forgotten() -> str:
    await DBOS.start_workflow_async(taking_once, "A17")
    return "accepted"


@DBOS.workflow()
async def right_refused_child() -> str:
    """Whoever awaits a child may live with its failure."""
    handle = await DBOS.start_workflow_async(taking, "A17")
    try:
        await handle.get_result(polling_interval_sec=0.05)
    except Exception:
        return "accepted"
    return "accepted"


@DBOS.step()
async def refuse_always() -> None:
    raise ValueError("no")


@DBOS.workflow()
async def refusing() -> None:
    await refuse_always()


@DBOS.workflow()
async def wrong_refusal() -> str:
    await DBOS.start_workflow_async(refusing)
    return "accepted"


@DBOS.workflow()
async def right_refusal() -> str:
    handle = await DBOS.start_workflow_async(refusing)
    try:
        await handle.get_result(polling_interval_sec=0.05)
    except ValueError:
        return "refused"
    return "accepted"


@DBOS.step()
async def gather(item: int) -> int:
    gathered.append(item)
    return item


@DBOS.workflow()
async def counting_child() -> int:
    for item in range(2):
        await gather(item)
    await DBOS.set_event_async("gathered", len(gathered))
    await fetch("last")
    return len(gathered)


@DBOS.workflow()
async def counting_right() -> int:
    items = [await gather(item) for item in range(2)]
    await DBOS.set_event_async("gathered", len(items))
    await fetch("last")
    return len(items)


@DBOS.workflow()
async def wrong_child_memory() -> int:
    return await counting_child()


@DBOS.workflow()
async def right_child_memory() -> int:
    return await counting_right()


@DBOS.workflow()
async def wrong_child_event_beside_an_id() -> str:
    await invent()
    await counting_child()
    return "ok"


@DBOS.workflow()
async def telling(order: str) -> str:
    await DBOS.set_event_async("order", order)
    return "told"


@DBOS.workflow()
async def right_child_event_beside_an_id() -> str:
    """What a child was given may be another in each run, and so may what it tells."""
    return await telling(await invent())


def _enqueue(workflow_id: str | None) -> None:
    client = DBOSClient(system_database_url=os.environ["DBOS_SYSTEM_DATABASE_URL"])
    options: EnqueueOptions = {"workflow_name": "taking_once", "queue_name": _QUEUE}
    if workflow_id is not None:
        options["workflow_id"] = workflow_id
    try:
        client.enqueue(options, "B18")
    finally:
        client.destroy()


@DBOS.step()
def ask_client() -> None:
    _enqueue(None)


@DBOS.step()
def ask_client_once(workflow_id: str) -> None:
    _enqueue(workflow_id)


@DBOS.workflow()
def wrong_enqueuing_by_client() -> str:
    ask_client()
    return "enqueued"


@DBOS.workflow()
def right_enqueuing_by_client() -> str:
    ask_client_once(f"{DBOS.workflow_id}-own")
    return "enqueued"


@DBOS.step()
async def flush(items: list[int]) -> None:
    await ask("CREATE TABLE IF NOT EXISTS flushed (item int PRIMARY KEY)")
    for item in items:
        await ask("INSERT INTO flushed VALUES (%s) ON CONFLICT DO NOTHING", item)


@DBOS.workflow()
async def wrong_flush() -> str:
    await flush([])
    for item in range(2):
        await gather(item)
    if len(gathered) >= 2:
        await flush(gathered)
    return "flushed"


@DBOS.workflow()
async def right_flush() -> str:
    await flush([])
    items = [await gather(item) for item in range(2)]
    if len(items) >= 2:
        await flush(items)
    return "flushed"
