"""Children that are started twice or awaited in vain, and right ones."""

from __future__ import annotations

import asyncio
import os

from dbos import DBOS, DBOSClient, EnqueueOptions, SetWorkflowID, SetWorkflowTimeout

from tests.support.planted.pairs.steps import fetch, invent


@DBOS.workflow()
async def pair_child(item: object) -> object:
    return await fetch(item)


async def enqueue(workflow_id: str | None) -> None:
    options: EnqueueOptions = {"queue_name": "letters", "workflow_name": "pair_child"}
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
        handle = await DBOS.start_workflow_async(pair_child, "a")
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
    # Longer than two steps beside it take on a busy machine.
    await asyncio.sleep(4)
    return "paused"


@DBOS.workflow()
async def slow_child() -> str:
    return await pause()


async def parts() -> list[object]:
    # So many that a replay, which reads their results, is at one of them when it knows the child's.
    return [await fetch(part) for part in range(12)]


@DBOS.workflow()
async def wrong_awaiting() -> list[object]:
    handle = await DBOS.start_workflow_async(slow_child)
    return list(await asyncio.gather(handle.get_result(polling_interval_sec=0.05), parts()))


@DBOS.workflow()
async def right_awaiting() -> list[object]:
    handle = await DBOS.start_workflow_async(slow_child)
    return list(await asyncio.gather(DBOS.get_result_async(handle.get_workflow_id()), parts()))


@DBOS.workflow()
async def right_rewinding() -> list[object]:
    """A child is asked to do all of it again, which is no loss of what it did."""
    with SetWorkflowID(f"{DBOS.workflow_id}-again"):
        handle = await DBOS.start_workflow_async(pair_child, "a")
    first = await handle.get_result(polling_interval_sec=0.05)
    again = await DBOS.rewind_workflow_async(handle.workflow_id)
    return [first, await again.get_result(polling_interval_sec=0.05)]
