"""Steps whose checkpoint answers another call, and right ones."""

from __future__ import annotations

import asyncio
import contextvars
import random
import uuid
from collections.abc import Awaitable, Callable

from dbos import DBOS

from tests.support.planted.pairs.steps import fetch, invent, publish

current: contextvars.ContextVar[str] = contextvars.ContextVar("current", default="nobody")


async def after(delay_s: float, name: str) -> str:
    await asyncio.sleep(delay_s)
    return name


@DBOS.workflow()
async def wrong_order() -> list[str]:
    """Who is ready first is published first: another one in a process that hashes otherwise."""
    names = list({f"tree-{number}" for number in range(50)})[:3]
    tasks: list[Awaitable[str]] = [after(place / 10, name) for place, name in enumerate(names)]
    return sorted([await publish(await ready) for ready in asyncio.as_completed(tasks)])


@DBOS.workflow()
async def right_order() -> list[str]:
    names = await asyncio.gather(*(after(random.random() / 20, name) for name in "abc"))
    return sorted([await publish(name) for name in names])


@DBOS.workflow()
async def wrong_key() -> str:
    await fetch(1)
    await publish(str(uuid.uuid4()))
    return "published"


@DBOS.workflow()
async def right_key() -> str:
    key = await invent()
    await publish(key)
    return "published"


@DBOS.step()
async def log_in() -> str:
    current.set("Ada")
    return "Ada"


@DBOS.workflow()
async def wrong_context() -> str:
    """What the step has set is lost when its checkpoint answers."""
    log_in_here: Callable[[], Awaitable[str]] = log_in
    await log_in_here()
    await publish(current.get())
    return "published"


@DBOS.workflow()
async def right_context() -> str:
    current.set(await log_in())
    await publish(current.get())
    return "published"
