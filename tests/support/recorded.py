"""A program of steps and effects, which prints what was recorded of it: LOOP URL."""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import uvloop
from dbos import DBOS, DBOSConfiguredInstance

from aexp import effect
from aexp.database import DatabaseUrl
from aexp.durable.effect import report_effects
from aexp.engine.recorder.declared import effect_reporter
from aexp.engine.recorder.effects import own_addresses, record_effects
from aexp.engine.recorder.records import Record, format_record
from aexp.engine.recorder.steps import record_steps

__all__: list[str] = []


def touch(name: str) -> None:
    Path(name).write_text("x")


@DBOS.step()
async def in_async_step() -> None:
    touch("async-step")
    await effect("charge", key="A17")
    await asyncio.to_thread(touch, "thread-of-a-step")
    try:
        await asyncio.open_connection("127.0.0.1", 9)
    except OSError:
        subprocess.run(["true"], check=True)  # noqa: ASYNC221 - as users do


@DBOS.step()
def in_sync_step(number: int) -> int:
    touch("sync-step")
    effect("mail", key=number, idempotent=True)
    return number


@DBOS.step(retries_allowed=True, interval_seconds=0.01, max_attempts=2)
async def second_try(tries: list[int]) -> None:
    tries.append(1)
    if len(tries) < 2:
        raise ValueError("not yet")


@DBOS.dbos_class()
class Shop(DBOSConfiguredInstance):
    @DBOS.step()
    async def sell(self, item: str) -> str:
        return await self.pack(item)

    @DBOS.step()
    async def pack(self, item: str) -> str:
        return item


shop = Shop("main")


@DBOS.workflow()
async def child(item: str) -> str:
    return item


@DBOS.workflow()
async def in_async() -> None:
    touch("async-body")
    innocent()
    await in_async_step()
    await asyncio.gather(shop.sell("a"), shop.sell("b"))
    await DBOS.run_step_async({"name": "named"}, functools.partial(in_thread, "x"))
    await second_try([])
    handle = await DBOS.start_workflow_async(child, "c")
    await handle.get_result(polling_interval_sec=0.05)


def in_thread(text: str) -> str:
    return text


@DBOS.workflow()
def in_sync() -> int:
    thread = threading.Thread(target=touch, args=["no-context"])
    thread.start()
    thread.join()
    touch("sync-body")
    with socket.socket() as client:
        client.connect_ex(("127.0.0.1", 9))
    return in_sync_step(7)


def innocent() -> None:
    """Nothing of this is an effect."""
    handler = logging.FileHandler("log.txt", delay=True)
    logging.getLogger("recorded").addHandler(handler)
    logging.getLogger("recorded").warning("a line")
    handler.close()
    Path(__file__).read_text()
    import colorsys

    with tempfile.NamedTemporaryFile("w") as scratch:
        scratch.write(colorsys.__name__)
    Path(tempfile.mkdtemp(), "scratch").write_text("x")
    with open("/dev/null", "w") as nothing:  # noqa: PTH123
        nothing.write("x")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect_ex("/own/.s.PGSQL.5432")


async def main(url: str) -> None:
    DBOS(config={"name": "recorded", "system_database_url": url})
    DBOS.launch()
    await in_async()
    await asyncio.to_thread(in_sync)
    await asyncio.to_thread(DBOS.destroy)


if __name__ == "__main__":
    records: list[Record] = []
    own = own_addresses(DatabaseUrl.parse(sys.argv[2]))
    record_effects(records.append, own=[*own, "/own/"])
    report_effects(effect_reporter(records.append))
    run = uvloop.run if sys.argv[1] == "uvloop" else asyncio.run
    with record_steps(records.append):
        run(main(sys.argv[2]))
    sys.stdout.buffer.write(b"".join(map(format_record, records)))
