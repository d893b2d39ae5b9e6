"""Outcomes that depend on the memory or the clock of a process, and right ones."""

from __future__ import annotations

import os
import random
import time

from dbos import DBOS

from tests.support.planted.pairs.steps import ask, fetch, invent, publish

seen = 0


@DBOS.step()
async def look(item: int) -> int:
    global seen  # noqa: PLW0603 - the bug
    seen += 1
    return item


@DBOS.workflow()
async def wrong_event() -> str:
    for item in range(2):
        await look(item)
    await DBOS.set_event_async("seen", seen)
    return "counted"


@DBOS.workflow()
async def right_event() -> str:
    looked = [await look(item) for item in range(2)]
    await DBOS.set_event_async("seen", len(looked))
    return "counted"


@DBOS.workflow()
async def wrong_event_beside_an_id() -> str:
    """As wrong, with an id that no two runs share."""
    order = await invent()
    await look(1)
    await DBOS.set_event_async("seen", seen)
    return order


@DBOS.workflow()
async def right_event_beside_an_id() -> dict[str, object]:
    order = await invent()
    await DBOS.set_event_async("order", order)
    return {"order": order, "at": time.time(), "paid": True}


@DBOS.step()
async def tell_twice(word: str) -> None:
    await DBOS.write_stream_async("words", word)


@DBOS.workflow()
async def wrong_stream() -> str:
    await tell_twice("one")
    return "told"


@DBOS.workflow()
async def right_stream() -> str:
    await fetch("one")
    await DBOS.write_stream_async("words", "one")
    return "told"


@DBOS.step()
async def need_a_key() -> str:
    return os.environ["A_KEY_THAT_NOBODY_SET"]


@DBOS.workflow()
async def wrong_alone() -> str:
    return await need_a_key()


@DBOS.workflow()
async def wrong_clock() -> float:
    await fetch(1)
    return time.time()


@DBOS.step()
async def read_clock() -> float:
    return time.time()


@DBOS.workflow()
async def right_clock() -> float:
    return await read_clock()


@DBOS.step()
async def is_ready(look_no: int) -> bool:
    return look_no > 3 or (look_no > 1 and random.random() < 0.8)


@DBOS.workflow()
async def right_polling() -> str:
    """As many steps as it takes."""
    look_no = 0
    while not await is_ready(look_no):
        look_no += 1
    return "ready"


@DBOS.step()
async def live_price() -> int:
    return random.randrange(1_000)


@DBOS.workflow()
async def right_branch() -> str:
    """Another way for another answer of a step."""
    if await live_price() > 500:
        await publish("dear")
        return "dear"
    return "cheap"


@DBOS.workflow()
def right_sync() -> list[object]:
    """A sync one."""
    done = []
    for item in range(2):
        DBOS.sleep(0.01)
        DBOS.set_event("done", item)
        done.append(item)
    return list(done)


names: list[str] = []


@DBOS.step()
async def collect(name: str) -> str:
    names.append(name)
    return name


@DBOS.step()
async def make_table() -> None:
    await ask("CREATE TABLE IF NOT EXISTS collected (name text PRIMARY KEY)")


@DBOS.step()
async def flush(given: list[str] | None = None) -> None:
    for name in names if given is None else given:
        await ask("INSERT INTO collected VALUES (%s) ON CONFLICT DO NOTHING", name)


@DBOS.workflow()
async def call_it_ready() -> None:
    await DBOS.sleep_async(0.3)
    await DBOS.set_event_async("ready", value=True)


async def poll() -> None:
    """Ask as often as it takes."""
    handle = await DBOS.start_workflow_async(call_it_ready)
    while await DBOS.get_event_async(handle.workflow_id, "ready", 0.05) is None:
        pass


@DBOS.workflow()
async def wrong_rows_beside_an_id_and_a_poll() -> str:
    """What one step has gathered in memory another one writes, maybe in the next process."""
    await make_table()
    order = await invent()
    await collect("a")
    await poll()
    await flush()
    return order


@DBOS.workflow()
async def right_rows_beside_an_id_and_a_poll() -> str:
    await make_table()
    order = await invent()
    given = [await collect("a")]
    await poll()
    await flush(given)
    return order
