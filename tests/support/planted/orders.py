"""What the planted bugs that have effects share: a table of shipments, and what it promises."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from aexp import Anomaly, Promise, Run, Runtime, Scenario, current_runtime

__all__ = ["insert_shipment", "shipping"]


async def _table(runtime: Runtime, run: Run) -> AsyncIterator[None]:
    await runtime.database.pool.execute("CREATE TABLE IF NOT EXISTS shipments (item int)")
    yield


async def insert_shipment(item: int) -> None:
    """The effect: a row, without a key that would refuse its double."""
    await current_runtime().database.pool.execute("INSERT INTO shipments VALUES ($1)", item)


async def _gather(connection: Any, run: Run, ending: Any) -> list[dict[str, Any]]:
    rows = await connection.fetch(
        "SELECT item, (SELECT count(*) FROM shipments WHERE shipments.item = asked.item) AS times"
        " FROM generate_series(1, $1::int) AS asked (item)",
        run.facts["items"],
    )
    return [dict(row) for row in rows]


def _once(rows: Sequence[dict[str, Any]]) -> Sequence[Anomaly]:
    wrong = [row for row in rows if row["times"] != 1]
    return [Anomaly("not shipped exactly once", wrong)] if wrong else ()


def shipping(name: str, workflow: Callable[..., Any], *, items: int) -> Scenario[Any]:
    """A scenario that promises that each of ``items`` is shipped exactly once."""

    async def facts(_parameters: Any) -> dict[str, Any]:
        return {"items": items}

    return Scenario(
        name=name,
        summary="Ship every item exactly once.",
        workflow=workflow,
        resources=_table,
        facts=facts,
        gather=_gather,
        promises=[Promise("shipped_once", "each item is shipped exactly once", _once)],
        duplicates=lambda rows: sum(row["times"] > 1 for row in rows),
    )
