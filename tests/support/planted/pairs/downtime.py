"""What waits until some time, and what comes of it when nobody lives then."""

from __future__ import annotations

import time
from datetime import datetime

from dbos import DBOS, SetWorkflowTimeout

from aexp import effect

_QUEUE = "downtime"
DBOS.register_queue(_QUEUE, polling_interval_sec=0.1)

_HOUR = 3600.0
_asked: list[str] = []


@DBOS.step(name="down_charge")
async def charge(order: str) -> str:
    await effect("charge", key=order)
    return "charged"


@DBOS.step(name="down_note")
async def note(what: str) -> str:
    return what


@DBOS.step(name="down_now")
async def now() -> float:
    return time.time()


@DBOS.step(name="down_lapsed")
async def lapsed(since: float) -> bool:
    return time.time() - since > _HOUR


@DBOS.workflow(name="down_answering")
async def answering(asker: str, topic: str) -> str:
    await DBOS.sleep_async(0.3)
    await DBOS.send_async(asker, "yes", topic)
    return "answered"


async def ask(topic: str, timeout_s: float) -> str:
    """Wait for a child's answer."""
    assert DBOS.workflow_id is not None
    await DBOS.start_workflow_async(answering, DBOS.workflow_id, topic)
    answer: str | None = await DBOS.recv_async(topic, timeout_seconds=timeout_s)
    return "approved" if answer else "nobody answered"


@DBOS.workflow()
async def waits_an_hour() -> str:
    """Its wait has timed out."""
    return await note(await ask("approval", _HOUR))


@DBOS.workflow()
async def waits_ten_days() -> str:
    """Its wait goes on."""
    return await note(await ask("long approval", 240 * _HOUR))


@DBOS.workflow(name="down_slow")
async def slow() -> str:
    await DBOS.sleep_async(0.3)
    return "slow"


@DBOS.workflow()
async def limits_an_hour() -> str:
    """Its child is cancelled."""
    with SetWorkflowTimeout(_HOUR):
        child = await DBOS.start_workflow_async(slow)
    try:
        return str(await DBOS.get_result_async(child.workflow_id))
    except Exception as error:
        return type(error).__name__


@DBOS.workflow()
async def limits_what_begins_late() -> str:
    """Its child, which begins only after the downtime, has its time."""
    await note("before")
    with SetWorkflowTimeout(60):
        child = await DBOS.enqueue_workflow_async(_QUEUE, slow)
    return str(await DBOS.get_result_async(child.workflow_id))


@DBOS.workflow()
async def looks_at_the_clock() -> str:
    """A step finds that it is late."""
    since = await now()
    await note("between")
    return "late" if await lapsed(since) else "in time"


@DBOS.workflow()
async def wrong_clock_in_a_body() -> str:
    """Its body finds that it is late, and asks for another step than is recorded."""
    since = await now()
    await note("between")
    if time.time() - since > _HOUR:
        await charge("late")
    await note("between again")
    return await note("done")


@DBOS.workflow()
async def wrong_second_charge() -> str:
    """What it does when nobody has answered happens twice."""
    await charge("order")
    if await ask("second approval", _HOUR) == "nobody answered":
        await charge("order")
    return await note("done")


@DBOS.step(name="down_remember")
async def remember(what: str) -> None:
    _asked.append(what)


@DBOS.workflow()
async def wrong_memory_beside_a_wait() -> str:
    """What is in its memory is lost, for however short a time it is down."""
    await remember("asked")
    await ask("third approval", _HOUR)
    return " ".join(_asked)


@DBOS.workflow()
async def sleeps() -> str:
    """Its sleep is over."""
    await DBOS.sleep_async(0.3)
    return await note("rested")


@DBOS.workflow(name="down_nightly")
async def nightly(scheduled: datetime, context: object) -> None:
    """The work of a schedule."""


@DBOS.workflow()
async def schedules() -> str:
    """What it has scheduled is missed."""
    await DBOS.create_schedule_async(
        schedule_name="nightly",
        workflow_fn=nightly,
        schedule="30 2 * * *",
        cron_timezone="Europe/Berlin",
    )
    return await note("scheduled")
