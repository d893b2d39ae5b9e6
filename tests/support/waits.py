"""Workflows that wait: some for what comes late, some for what never comes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from dbos import DBOS, SetEnqueueOptions, SetWorkflowTimeout


@DBOS.workflow()
async def quick() -> str:
    return "quick"


@DBOS.workflow()
async def sleeps() -> str:
    await DBOS.sleep_async(4)
    return "slept"


@DBOS.step()
async def takes_long() -> str:
    await asyncio.sleep(4)
    return "done"


@DBOS.workflow()
async def works() -> str:
    return await takes_long()


@DBOS.workflow()
async def answers_late(to: str) -> str:
    await DBOS.sleep_async(4)
    await DBOS.send_async(to, "an answer", "answers")
    await DBOS.set_event_async("answered", "yes")
    return "answered"


@DBOS.workflow()
async def is_answered_late() -> str:
    assert DBOS.workflow_id is not None
    answering = await DBOS.start_workflow_async(answers_late, DBOS.workflow_id)
    event = DBOS.get_event_async(answering.workflow_id, "answered", timeout_seconds=3600)
    message = await DBOS.recv_async("answers", timeout_seconds=3600)
    return f"{message}, {await event}"


@DBOS.workflow()
async def is_delayed() -> str:
    await DBOS.register_queue_async("later")
    with SetEnqueueOptions(delay_seconds=4):
        handle = await DBOS.enqueue_workflow_async("later", quick)
    return await handle.get_result()


@DBOS.workflow()
async def is_limited() -> str:
    await DBOS.register_queue_async("slowly", limiter={"limit": 1, "period": 3})
    handles = [await DBOS.enqueue_workflow_async("slowly", quick) for _ in range(2)]
    return " ".join([await handle.get_result() for handle in handles])


@DBOS.workflow()
async def gives_up() -> str:
    """Wait for what never comes, but with a timer of asyncio's, of which DBOS knows nothing."""
    try:
        async with asyncio.timeout(6):
            return str(await DBOS.get_result_async("nobody"))
    except TimeoutError:
        return "gave up"


@DBOS.workflow()
async def never_ends() -> None:
    await DBOS.recv_async("never", timeout_seconds=3)


@DBOS.workflow()
async def cancels() -> str:
    with SetWorkflowTimeout(0.5):
        handle = await DBOS.start_workflow_async(never_ends)
    try:
        await handle.get_result()
    except Exception:
        return "gave up"
    return "answered"


@DBOS.workflow()
async def waits_in_turn() -> list[str]:
    """All of these come to their ends, each while nothing else moves."""
    return [
        await (await DBOS.start_workflow_async(workflow)).get_result()
        for workflow in (sleeps, works, is_answered_late, is_delayed, is_limited, gives_up, cancels)
    ]


@DBOS.workflow()
async def on_a_queue_of_nobody() -> str:
    handle = await DBOS.enqueue_workflow_async("mails", quick)
    return await handle.get_result()


@DBOS.step()
async def fetch() -> str:
    session = asyncio.ensure_future(asyncio.sleep(60))
    asyncio.get_running_loop().call_soon(session.cancel)
    await session
    return "fetched"


@DBOS.workflow()
async def is_left() -> str:
    return await fetch()


@DBOS.workflow()
async def awaits_one_that_is_left() -> str:
    handle = await DBOS.start_workflow_async(is_left)
    return await handle.get_result()


@DBOS.step()
def shut_down() -> str:
    raise SystemExit(3)


@DBOS.workflow()
def is_shut_down() -> str:
    return shut_down()


@DBOS.workflow()
def awaits_one_that_exits() -> str:
    return DBOS.start_workflow(is_shut_down).get_result()


@DBOS.workflow()
def calls_one_that_exits() -> str:
    return is_shut_down()


@DBOS.workflow()
def exits() -> str:
    raise SystemExit("no more")


@DBOS.workflow()
async def awaits_two() -> list[str]:
    """Of two at once, one is on a queue that is full of who waits for it."""
    await DBOS.register_queue_async("narrow", worker_concurrency=1)
    handle = await DBOS.enqueue_workflow_async("narrow", needs_its_own_place)
    return list(await asyncio.gather(handle.get_result(), sleeps()))


@DBOS.workflow()
async def needs_its_own_place() -> str:
    handle = await DBOS.enqueue_workflow_async("narrow", quick)
    return await handle.get_result()


@DBOS.workflow()
async def is_unanswered() -> str:
    return str(await DBOS.recv_async("go", timeout_seconds=12))


@DBOS.workflow()
async def awaits_an_event() -> str:
    assert DBOS.workflow_id is not None
    return str(await DBOS.get_event_async(DBOS.workflow_id, "x", timeout_seconds=3600))


@DBOS.step()
async def mark() -> str:
    return "marked"


@DBOS.workflow()
async def recovers_badly() -> str:
    """Wait, where it was killed before, for what nobody sends."""
    been = Path(os.environ["TMPDIR"], "been")
    if been.exists():  # noqa: ASYNC240
        return str(await DBOS.recv_async("go", timeout_seconds=3600))
    been.touch()  # noqa: ASYNC240
    return await mark()
