"""Bodies that depend on what is otherwise for another process, and right ones as like as can be."""

from __future__ import annotations

import asyncio
import datetime
import locale
import os
import random
import secrets
import socket
import time
import uuid
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path

from dbos import DBOS, SetWorkflowTimeout

_QUEUE = "worlds"
DBOS.register_queue(_QUEUE, polling_interval_sec=0.1)

_NAMES = frozenset({"alpha", "beta", "gamma", "delta", "epsilon", "zeta"})
_asked = 0
_told_aside: ContextVar[str] = ContextVar("told_aside")


@DBOS.step(name="world_fetch")
async def fetch(given: object) -> object:
    return given


@DBOS.step(name="world_publish")
async def publish(given: object) -> str:
    return f"published {given}"


@DBOS.step(name="world_today")
async def today() -> int:
    return datetime.date.today().toordinal()


@DBOS.step(name="world_draw")
async def draw() -> float:
    return random.random()


@DBOS.step(name="world_slow")
async def slow(parts: int) -> int:
    await asyncio.sleep(0.1 * parts)
    return parts


@DBOS.step(name="world_answer")
async def answer(patience: float) -> str:
    await asyncio.sleep(min(0.5, patience))
    return "late" if patience < 0.5 else "in time"


@DBOS.step(name="world_count")
async def count() -> int:
    global _asked
    _asked += 1
    return _asked


@DBOS.step(name="world_tell_aside")
async def tell_aside() -> None:
    _told_aside.set("something")


@DBOS.step(name="world_spoken")
async def spoken() -> str:
    return locale.setlocale(locale.LC_CTYPE)


@DBOS.step(name="world_zone")
async def zone() -> str:
    return time.strftime("%z")


@DBOS.step(name="world_read")
async def read() -> int:
    return len(Path("given.txt").read_text())


@DBOS.workflow()
async def wrong_day() -> str:
    await _by_day(datetime.date.today().toordinal())
    return "done"


@DBOS.workflow()
async def right_day() -> str:
    await _by_day(await today())
    return "done"


async def _by_day(day: int) -> None:
    """Take another way on the next day, and on the one after it."""
    if day % 3 == 0:
        await fetch("today")
    elif day % 3 == 1:
        await publish("today")
    else:
        await slow(0)


@DBOS.workflow()
async def wrong_jitter() -> str:
    await fetch(round(random.uniform(1, 2), 6))
    return "done"


@DBOS.workflow()
async def right_jitter() -> str:
    await fetch(round(1 + await draw(), 6))
    return "done"


@DBOS.workflow()
async def right_seeded() -> str:
    random.seed(7)
    await fetch(random.random())
    return "done"


@DBOS.workflow()
def wrong_uuid() -> str:
    DBOS.run_step({"name": "world_charge"}, _charge, f"{uuid.uuid4()} {secrets.token_hex(4)}")
    return "done"


@DBOS.workflow()
def right_uuid() -> str:
    DBOS.run_step({"name": "world_charge"}, _charge, f"{DBOS.workflow_id} charge")
    return "done"


def _charge(key: str) -> str:
    return f"charged {key}"


@DBOS.workflow()
async def wrong_set() -> str:
    await publish([*_NAMES])
    return "done"


@DBOS.workflow()
async def right_set() -> str:
    await publish(sorted(_NAMES))
    return "done"


@DBOS.workflow()
async def wrong_completed() -> str:
    for done in asyncio.as_completed([slow(1), slow(2), slow(3)]):
        await publish(await done)
    return "done"


@DBOS.workflow()
async def right_gathered() -> str:
    for done in await asyncio.gather(slow(1), slow(2), slow(3)):
        await publish(done)
    return "done"


@DBOS.workflow()
async def wrong_loops() -> str:
    async def twice(pace: int) -> None:
        await slow(pace)
        await publish(pace)

    await asyncio.gather(twice(3), twice(1), twice(2))
    return "done"


@DBOS.workflow()
async def right_loops() -> str:
    async def twice(pace: int) -> None:
        await slow(pace)
        await publish(pace)

    for pace in (3, 1, 2):
        await twice(pace)
    return "done"


@DBOS.workflow()
async def wrong_wait() -> str:
    waiting = asyncio.ensure_future(slow(15))
    _, pending = await asyncio.wait([waiting], timeout=0.7)
    if pending:
        await publish("it is late")
    return f"{await waiting} parts"


@DBOS.workflow()
async def right_wait() -> str:
    if await answer(0.1) == "late":
        await publish("it is late")
    return "done"


@DBOS.workflow()
async def wrong_counter() -> str:
    await count()
    await publish(_asked)
    return "done"


@DBOS.workflow()
async def right_counter() -> str:
    await publish(await count())
    return "done"


@DBOS.workflow()
async def wrong_told_aside() -> str:
    """What its step has set is not set where a checkpoint answers."""
    _told_aside.set("nothing")
    # In this task, so that the body sees what is set.
    note_aside: Callable[[], Awaitable[None]] = tell_aside
    await note_aside()
    await publish(_told_aside.get())
    return "done"


@DBOS.workflow()
async def right_told_aside() -> str:
    _told_aside.set(str(await fetch("something")))
    await publish(_told_aside.get())
    return "done"


@DBOS.workflow()
async def wrong_locale() -> str:
    await publish(locale.setlocale(locale.LC_CTYPE))
    return "done"


@DBOS.workflow()
async def right_locale() -> str:
    await publish(await spoken())
    return "done"


@DBOS.workflow()
async def wrong_zone() -> str:
    await publish(time.strftime("%z"))
    return "done"


@DBOS.workflow()
async def right_zone() -> str:
    await publish(await zone())
    return "done"


@DBOS.workflow()
async def wrong_host() -> str:
    await publish([socket.gethostname(), os.uname().nodename])
    return "done"


@DBOS.workflow()
async def right_folder() -> str:
    await publish(await read())
    return "done"


@DBOS.workflow()
async def wrong_folder() -> str:
    await publish(await read())
    await publish(os.getcwd())
    return "done"


@DBOS.workflow()
async def right_waits() -> str:
    """What has a time of its own has it a day later, too."""
    await DBOS.sleep_async(0.2)
    waited = await DBOS.recv_async("nothing", timeout_seconds=0.2)
    await publish(waited)
    return "done"


@DBOS.workflow(name="world_limited")
async def limited() -> str:
    return await publish("in time")


@DBOS.workflow()
async def right_limit() -> str:
    """What is enqueued there has its whole timeout."""
    await fetch(1)
    with SetWorkflowTimeout(60):
        child = await DBOS.enqueue_workflow_async(_QUEUE, limited)
    return str(await DBOS.get_result_async(child.workflow_id))


@DBOS.workflow()
async def right_other_result() -> str:
    """What ran only there may return something else, and the result follows it."""
    await fetch(1)
    day, zoned = await today(), await zone()
    return f"{day} {zoned}"


@DBOS.step(name="world_refuse")
async def refuse(day: int) -> str:
    if datetime.date.today().toordinal() != day:
        raise ValueError("too late")
    return "in time"


@DBOS.workflow()
async def right_refused() -> str:
    """A step that was not durable may fail on another day, and the workflow with it."""
    day = await today()
    return await refuse(day)
