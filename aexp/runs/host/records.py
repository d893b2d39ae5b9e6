"""What the database holds of the runs of a service: read, changed and deleted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import asyncpg
from dbos import DBOSClient

from aexp.database import DatabaseUrl
from aexp.database.connect import borrowed, connected
from aexp.engine.registry import UNFINISHED
from aexp.engine.tables.schedules import delete_owned
from aexp.engine.tables.workflows import (
    is_workflow,
    join_status_of,
    list_of_version,
    versions_with,
)
from aexp.errors import RunMismatch
from aexp.model.run import Run
from aexp.runs.execution import has_ended
from aexp.runs.leases import is_leased
from aexp.runs.recordings import discard_recordings
from aexp.runs.store import RUN_COLUMNS, WAS_CANCELLED, begin_run, find_run, get_run

__all__ = ["STANDING", "Newest", "Records", "batches"]

# In what was asked for a run that a host goes on with for as long as it lives.
STANDING = "kept"

# Ids to a statement of DBOS's, which takes 65,535 at most.
_IDS_AT_A_TIME = 5_000
_TABLES = ("publications", "ledger", "step_bodies", "events", "counters", "objects", "runs")


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest of several runs that follow each other, None when there is none yet.

    ``goes_on``: it is there to be worked on; ``well``: it has ended so. The next one may be the
    ``free`` th.
    """

    run: Run | None
    free: int
    goes_on: bool = False
    well: bool = False


class Records:
    """Runs, their workflows and what was asked for them."""

    def __init__(
        self, url: DatabaseUrl, pool: asyncpg.Pool[asyncpg.Record], client: DBOSClient
    ) -> None:
        self._url = url
        self._pool = pool
        self._client = client

    async def record(self, wanted: Run, asked: Mapping[str, int]) -> tuple[Run, bool, bool]:
        """Record the run; return it as it stands, whether it is new here, and whether it has ended.

        Raises RunMismatch when it was asked for otherwise.
        """
        async with connected(self._url) as connection, connection.transaction():
            begun = await begin_run(connection, wanted)
            fresh = bool(
                await connection.fetchval(
                    # One that was cancelled waits to be resumed.
                    "UPDATE aexp.runs SET hosted = true WHERE run_id = $1 AND NOT hosted"  # noqa: S608 - our own words
                    f" AND NOT {WAS_CANCELLED} RETURNING true",
                    wanted.run_id,
                )
            )
            first = await connection.fetchval(
                "INSERT INTO aexp.run_events (run_id, seq, event, data)"
                " VALUES ($1, 1, 'run.requested', $2)"
                " ON CONFLICT (run_id, seq) DO UPDATE SET seq = 1 RETURNING data",
                wanted.run_id,
                asked,
            )
            known = {"forked_from": begun.forked_from, "fork_step": begun.fork_step, **first}
            given = {"forked_from": wanted.forked_from, "fork_step": wanted.fork_step, **asked}
            differences = [
                f"{name}={known[name]}, not {value}"
                for name, value in given.items()
                if known.get(name, value) != value
            ]
            if differences:
                raise RunMismatch(wanted.run_id, differences)
            hosted = await connection.fetchval(
                "SELECT hosted FROM aexp.runs WHERE run_id = $1", wanted.run_id
            )
            return begun, fresh, not hosted or await has_ended(connection, begun)

    async def find(self, run_id: str) -> Run | None:
        async with borrowed(self._pool) as connection:
            return await find_run(connection, run_id)

    async def run(self, run_id: str) -> Run:
        async with borrowed(self._pool) as connection:
            return await get_run(connection, run_id)

    async def has_ended(self, run: Run) -> bool:
        async with borrowed(self._pool) as connection:
            return await has_ended(connection, run)

    async def is_leased(self, run_id: str) -> bool:
        async with borrowed(self._pool) as connection:
            return await is_leased(connection, run_id)

    async def workflows(self, run: Run, statuses: Sequence[str] | None) -> Sequence[asyncpg.Record]:
        return await list_of_version(self._pool, run.application_version, statuses)

    async def unfinished(
        self, limit: int, known: Collection[str], targets: Sequence[str] | None
    ) -> Sequence[Run]:
        """List hosted runs of ``targets``, if any are given, that have not ended, are not ``known``
        and not standing, the oldest first.
        """
        async with borrowed(self._pool) as connection:
            rows = await connection.fetch(
                # From what is unfinished, which is little, and not from all that was ever hosted.
                f"SELECT {RUN_COLUMNS} FROM aexp.runs"  # noqa: S608 - our own columns
                " WHERE hosted AND run_id <> ALL($2::text[])"
                " AND ($5::text[] IS NULL OR target = ANY($5::text[]))"
                f" AND (application_version IN {versions_with('$1::text[]')}"
                f"  OR NOT {is_workflow('run_id')})"
                " AND NOT EXISTS (SELECT FROM aexp.run_events AS asked"
                "  WHERE asked.run_id = runs.run_id AND seq = 1 AND data ? $4)"
                " ORDER BY created_at LIMIT $3",
                UNFINISHED,
                list(known),
                limit,
                STANDING,
                targets,
            )
            return [Run(**dict(row)) for row in rows]

    async def newest(self, stem: str) -> Newest:
        """Return the newest run whose id is ``stem``, letters, digits and ``-``, and a number."""
        async with borrowed(self._pool) as connection:
            # In one statement: who sees no newer run takes the number that another has just taken.
            rows = await connection.fetch(
                f"SELECT run_id, substr(run_id, $2) AS rest, status, {WAS_CANCELLED} AS cancelled,"  # noqa: S608 - our own words
                " EXISTS (SELECT FROM aexp.run_events AS asked"
                "  WHERE asked.run_id = runs.run_id AND seq = 1 AND data ? $3) AS kept"
                f" FROM aexp.runs {join_status_of('run_id')}"
                " WHERE starts_with(run_id, $1) ORDER BY runs.created_at DESC, run_id DESC",
                stem,
                len(stem) + 1,
                STANDING,
            )
            newest = next((row for row in rows if row["kept"]), None)
            # A fork may be called so too, or as a workflow of a run that is called so would be.
            taken = {row["rest"].partition("-")[0] for row in rows}
            past = int(newest["rest"]) if newest is not None else 0
            free = next(number for number in count(past + 1) if str(number) not in taken)
            if newest is None:
                return Newest(None, free)
            run = await get_run(connection, newest["run_id"])
            ended = await has_ended(connection, run)
        goes_on = not ended and not newest["cancelled"]
        return Newest(run, free, goes_on=goes_on, well=ended and newest["status"] == "SUCCESS")

    async def delete(self, run: Run) -> int:
        """Delete a run on which nobody works; how many workflows it had."""
        workflows = await self.workflows(run, None)
        for ids in batches([row["workflow_id"] for row in workflows]):
            await self._client.delete_workflows_async(ids)
        await self._delete_rows(run.run_id)
        return len(workflows)

    async def cancel(self, workflows: Sequence[asyncpg.Record]) -> None:
        """Cancel ``workflows``, which DBOS takes from their queues."""
        for ids in batches([row["workflow_id"] for row in workflows]):
            await self._client.cancel_workflows_async(ids)

    async def set_hosted(self, run_id: str, *, hosted: bool) -> None:
        """Have services join the run from now on, or no more."""
        await self._pool.execute(
            "UPDATE aexp.runs SET hosted = $2 WHERE run_id = $1", run_id, hosted
        )

    async def enqueue_again(
        self, stopped: Sequence[asyncpg.Record], known: Mapping[str, str]
    ) -> None:
        """Put ``stopped`` workflows back where they were, so that the queues' limits hold."""
        by_queue: dict[str | None, list[str]] = {}
        for row in stopped:
            queue = row["queue_name"] or known.get(row["name"])
            by_queue.setdefault(queue, []).append(row["workflow_id"])
        for queue, workflows in by_queue.items():
            for ids in batches(workflows):
                await self._client.resume_workflows_async(ids, queue_name=queue)

    async def _delete_rows(self, run_id: str) -> None:
        async with borrowed(self._pool) as connection, connection.transaction():
            await discard_recordings(connection, run_id)
            # What a run that ended in order has removed itself.
            await delete_owned(connection, f".{run_id}")
            # The run itself last, and its processes and events with it.
            for table in _TABLES:
                await connection.execute(
                    f"DELETE FROM aexp.{table} WHERE run_id = $1",  # noqa: S608 - our own tables
                    run_id,
                )


def batches(ids: Sequence[str]) -> Iterator[list[str]]:
    """Yield ``ids``, as many at a time as a statement takes."""
    for first in range(0, len(ids), _IDS_AT_A_TIME):
        yield list(ids[first : first + _IDS_AT_A_TIME])
