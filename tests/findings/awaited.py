"""Workflows that await a child by its handle, and by its id: python awaited.py first|second.

The first process is killed when each of them has come to its last step; the second recovers them,
and prints what each comes to.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from dbos import DBOS, SetEnqueueOptions, SetWorkflowID, WorkflowHandleAsync

__all__ = ["ROOTS"]

PATIENCE_S = 1.0

STAYS = sys.argv[1:] == ["first"]
stayed: asyncio.Queue[str] = asyncio.Queue()


@DBOS.step()
async def last(root: str) -> None:
    """Stay here until the process is killed."""
    if STAYS:
        stayed.put_nowait(root)
        await asyncio.Event().wait()


@DBOS.step()
async def page(number: int) -> int:
    return number


@DBOS.workflow()
async def child() -> str:
    return "done"


@DBOS.workflow()
async def waiting_child() -> str:
    return str(await DBOS.recv_async("result"))


async def by_handle(handle: WorkflowHandleAsync[str]) -> str:
    return await handle.get_result(polling_interval_sec=0.05)


async def by_id(handle: WorkflowHandleAsync[str]) -> str:
    return str(await DBOS.get_result_async(handle.workflow_id))


Awaiting = Callable[[WorkflowHandleAsync[str]], Awaitable[str]]


async def beside(result_of: Awaiting) -> tuple[str, list[int]]:
    """Await a child while other steps are made."""

    async def pages() -> list[int]:
        numbers = [await page(number) for number in range(20)]
        await DBOS.send_async(handle.workflow_id, "done", "result")
        return numbers

    handle = await DBOS.start_workflow_async(waiting_child)
    found = await asyncio.gather(result_of(handle), pages())
    await last("beside")
    return found


async def cancelled(result_of: Awaiting) -> list[str]:
    """Await a child that is cancelled, and then have it go on."""
    with SetEnqueueOptions(delay_seconds=3600):
        handle = await DBOS.enqueue_workflow_async("later", child)
    await DBOS.cancel_workflow_async(handle.workflow_id)
    try:
        seen = await result_of(handle)
    except Exception as error:
        seen = type(error).__name__
    await DBOS.resume_workflow_async(handle.workflow_id)
    then = await by_id(handle)
    await last("cancelled")
    return [seen, then]


async def deleted(result_of: Awaiting) -> str:
    """Delete a child that has ended."""
    handle = await DBOS.start_workflow_async(child)
    result = await result_of(handle)
    await DBOS.delete_workflow_async(handle.workflow_id)
    await last("deleted")
    return result


@DBOS.workflow()
async def beside_by_handle() -> tuple[str, list[int]]:
    return await beside(by_handle)


@DBOS.workflow()
async def beside_by_id() -> tuple[str, list[int]]:
    return await beside(by_id)


@DBOS.workflow()
async def cancelled_by_handle() -> list[str]:
    return await cancelled(by_handle)


@DBOS.workflow()
async def cancelled_by_id() -> list[str]:
    return await cancelled(by_id)


@DBOS.workflow()
async def deleted_by_handle() -> str:
    return await deleted(by_handle)


@DBOS.workflow()
async def deleted_by_id() -> str:
    return await deleted(by_id)


ROOTS: tuple[Callable[[], Any], ...] = (
    beside_by_handle,
    beside_by_id,
    cancelled_by_handle,
    cancelled_by_id,
    deleted_by_id,
    deleted_by_handle,
)


async def first() -> None:
    await DBOS.register_queue_async("later")
    for root in ROOTS:
        with SetWorkflowID(root.__name__):
            await DBOS.start_workflow_async(root)
    for _ in ROOTS:
        await stayed.get()
    os.kill(os.getpid(), signal.SIGKILL)


async def second() -> None:
    """Wait for each; for one that may wait for ever not much longer than for the others."""
    *others, last_one = (asyncio.ensure_future(come_to(root.__name__)) for root in ROOTS)
    found = dict(await asyncio.gather(*others))
    done, _ = await asyncio.wait([last_one], timeout=PATIENCE_S)
    found |= dict(task.result() for task in done)
    sys.stdout.write(json.dumps(found))


async def come_to(name: str) -> tuple[str, Any]:
    handle: WorkflowHandleAsync[Any] = await DBOS.retrieve_workflow_async(name)
    try:
        return name, await handle.get_result(polling_interval_sec=0.05)
    except Exception as error:
        return name, type(error).__name__


if __name__ == "__main__":
    url = os.environ["DBOS_SYSTEM_DATABASE_URL"]
    DBOS(config={"name": "awaited", "system_database_url": url})
    DBOS.launch()
    asyncio.run(first() if STAYS else second())
    # One may wait for ever: no tidy end.
    sys.stdout.flush()
    os._exit(0)
