"""Bugs that take no scenario of their own: a bare workflow each."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from pathlib import Path

from dbos import DBOS

from aexp import current_runtime


@DBOS.step()
async def work(item: str) -> str:
    return item


def trees() -> list[str]:
    """Some names, others first in each process that hashes texts otherwise."""
    return list({f"tree-{n}" for n in range(50)})[:5]


@DBOS.workflow()
async def clock() -> int:
    """Its result depends on when its last step ran, which no checkpoint says."""
    await work("a")
    return time.time_ns()


@DBOS.workflow()
async def coin() -> str:
    """Another step each time, as a random number outside any step will have it."""
    name = f"toss-{random.randrange(10**12)}"
    return await DBOS.run_step_async({"name": name}, work, "tossed")


@DBOS.workflow()
async def unordered() -> list[str]:
    """The order of a set of texts is another in each process."""
    return [await work(name) for name in trees()]


@DBOS.step()
async def forget_first(workflow_id: str) -> None:
    await current_runtime().database.pool.execute(
        "DELETE FROM dbos.operation_outputs WHERE workflow_uuid = $1 AND function_id = 1",
        workflow_id,
    )


@DBOS.workflow()
async def dropped() -> str:
    """A checkpoint is deleted behind DBOS's back."""
    await work("first")
    await forget_first(str(DBOS.workflow_id))
    return await work("last")


@DBOS.workflow()
async def racing() -> list[str]:
    """Which of two steps is the first depends on who wakes up first."""

    async def later(step: str) -> str:
        await asyncio.sleep(random.random() / 20)
        return await DBOS.run_step_async({"name": step}, work, step)

    return await asyncio.gather(*(later(f"step-{n}") for n in range(12)))


@DBOS.step()
async def take_lock() -> None:
    os.close(os.open(Path(tempfile.gettempdir(), "planted.lock"), os.O_CREAT | os.O_EXCL))


@DBOS.step()
async def leave_lock() -> None:
    os.unlink(Path(tempfile.gettempdir(), "planted.lock"))  # noqa: PTH108 - a moment's blocking


@DBOS.workflow()
async def lock_file() -> str:
    """The lock that its first step takes outlives the process that took it."""
    await take_lock()
    await leave_lock()
    return await work("unlocked")


@DBOS.workflow()
async def child(item: str) -> str:
    return await work(item)


@DBOS.workflow()
async def brood() -> list[str]:
    """Which child has which id follows from the order of a set."""
    handles = [await DBOS.start_workflow_async(child, name) for name in trees()]
    return sorted([await handle.get_result(polling_interval_sec=0.05) for handle in handles])


@DBOS.workflow()
async def sound() -> list[str]:
    """Nothing is wrong with this one."""
    return [await work(name) for name in ("ash", "birch")]


@DBOS.workflow()
async def endless() -> None:
    """Never ends."""
    await work("first")
    await asyncio.Event().wait()


@DBOS.workflow()
async def crashing() -> None:
    """Ends its process at once."""
    os._exit(7)
