"""Workflows of a user who has never heard of aexp, and scenarios of one who has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date, datetime
from enum import Enum
from typing import Any

from dbos import DBOS
from pydantic import Field

from aexp import (
    Anomaly,
    Ending,
    Parameters,
    Promise,
    Queue,
    Run,
    Runtime,
    Scenario,
    Schedule,
    current_runtime,
    fan_out,
)


@DBOS.step()
async def reserve(order: str, item: int) -> str:
    await asyncio.sleep(0.05)
    return f"{order}-{item}"


@DBOS.workflow()
async def checkout(order: str, items: int = 3, on: date = date(2026, 1, 1)) -> Any:
    """Reserve every item of an order."""
    return [await reserve(order, item) for item in range(items)]


@DBOS.workflow()
async def parent(children: int = 2) -> Any:
    handles = [await DBOS.start_workflow_async(checkout, f"o{n}", 2) for n in range(children)]
    return [await handle.get_result(polling_interval_sec=0.05) for handle in handles]


@DBOS.workflow()
async def failing() -> None:
    raise ValueError("out of stock")


@DBOS.workflow()
async def careless() -> None:
    """Starts a child and does not wait for it."""
    await DBOS.start_workflow_async(checkout, "late", 10)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@DBOS.workflow()
async def chatty() -> str:
    print("hello from the workflow")  # noqa: T201 - this is what is tested
    for item in range(6):
        await reserve("said", item)
    return "said"


@DBOS.workflow()
async def typed(  # type: ignore[no-untyped-def]
    day: date = date(2024, 5, 1),
    colour: Colour = Colour.RED,
    count: int = 1,
    untyped=(1, 2),  # noqa: ANN001
) -> Any:
    return [day.year, type(colour).__name__, type(count).__name__, type(list(untyped)).__name__]


@DBOS.workflow()
async def names(func: str, queue_name: str) -> str:
    return func + queue_name


@DBOS.workflow()
async def odd() -> Any:
    return {(1, 2): {3}, "nan": float("nan")}


@DBOS.workflow()
async def exiting() -> None:
    raise SystemExit(3)


async def plain() -> None:
    """Async, but no workflow."""


@DBOS.workflow()
def blocking() -> None:
    """A workflow, but not async."""


class Orders(Parameters):
    orders: int = Field(5, ge=1, description="how many")
    broken: bool = False


async def warehouse(runtime: Runtime, run: Run) -> AsyncIterator[None]:
    runtime.progress.begin(total=run.parameters["orders"])
    runtime.progress.remember(lambda: {"opened": True})
    yield


@DBOS.workflow(name="flows.ship")
async def ship(order: int) -> int:
    await reserve(str(order), 1)
    current_runtime().progress.advance()
    return order


@DBOS.workflow(name="flows.ship_all")
async def ship_all(orders: int, broken: bool) -> list[int]:
    return await fan_out(ship, ({"order": n} for n in range(orders)), queue="flows_queue")


async def gather_orders(connection: Any, run: Run, ending: Ending) -> Mapping[str, Any]:
    return {"broken": run.parameters["broken"], "shipped": ending.result}


def judge_orders(evidence: Mapping[str, Any]) -> Sequence[Anomaly]:
    if not evidence["broken"]:
        return ()
    return [Anomaly("an order was shipped to the wrong door", [{"order": 1, "door": "back"}])]


SHIPPING = Scenario(
    name="shipping",
    summary="Ship every order.",
    workflow=ship_all,
    parameters=Orders,
    queues=lambda parameters: [Queue(name="flows_queue", worker_concurrency=2)],
    resources=warehouse,
    steps=lambda parameters, facts: int(parameters.orders) + 2,
    gather=gather_orders,
    promises=[Promise("right_door", "every order comes to the right door", judge_orders)],
    account=lambda evidence: {"orders": {"shipped": len(evidence["shipped"] or [])}},
)


class Ticks(Parameters):
    ticks: int = 1


@DBOS.workflow(name="flows.tick")
async def tick(scheduled: datetime, context: Any) -> None:
    await DBOS.set_event_async("ticked", scheduled.isoformat())


@DBOS.workflow(name="flows.await_ticks")
async def await_ticks(ticks: int = 1) -> int:
    async def count() -> int:
        found: int = 0
        while found < ticks:
            found = await current_runtime().database.pool.fetchval(
                "SELECT count(*) FROM dbos.workflow_status"
                " WHERE name = 'flows.tick' AND status = 'SUCCESS'"
            )
            await asyncio.sleep(0.05)
        return found

    return await DBOS.run_step_async({"name": "count"}, count)


SCHEDULED: Scenario[None] = Scenario(
    name="scheduled",
    summary="Wait for ticks of a schedule.",
    workflow=await_ticks,
    parameters=Ticks,
    schedules=lambda parameters: [Schedule(name="every-second", workflow=tick, cron="* * * * * *")],
    listens_to_all_queues=True,
)


async def raising(runtime: Runtime, run: Run) -> AsyncIterator[None]:
    1 / 0  # noqa: B018
    yield


FRAGILE: Scenario[None] = Scenario(
    name="fragile", summary="Cannot open its resources.", workflow=failing, resources=raising
)
