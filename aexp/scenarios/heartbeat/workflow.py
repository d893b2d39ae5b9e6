"""``heartbeat``: a schedule that ticks while the process is killed and comes back.

DBOS fires a schedule from a thread of a living process. A tick that falls while no process lives is
lost, or made up for when the next one starts. Either way none may run twice: its workflow id
follows from its time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from dbos import DBOS
from pydantic import Field, field_validator

from aexp.database.connect import Connection, borrowed
from aexp.database.retry import retry_on_disconnect
from aexp.durable import ledger
from aexp.durable.exactly_once import Transaction, exactly_once
from aexp.durable.schedules import Schedule, retire
from aexp.engine.runtime import Queue, current_runtime
from aexp.engine.tables.workflows import any_unfinished
from aexp.model.parameters import Parameters
from aexp.model.run import Run
from aexp.model.scenario import Scenario
from aexp.processes.progress import Reached
from aexp.scenarios.heartbeat.evidence import gather
from aexp.scenarios.heartbeat.promises import BEAT, EVENT, PROMISES, SCHEDULE, account

__all__ = ["SCENARIO", "HeartbeatParameters", "beat", "watch"]

QUEUE = "tick_queue"
# Ticks that are made up for come all at once.
TICKS_AT_A_TIME = 10

_MINUTE_S = 60

log = structlog.stdlib.get_logger("aexp.heartbeat")


class HeartbeatParameters(Parameters):
    """How often to tick, and how long."""

    every_s: int = Field(
        1, ge=1, le=3600, description="seconds between ticks, evenly over the minute or the hour"
    )
    ticks: int = Field(3, ge=1, le=10_000, description="ticks to wait for")
    backfill: bool = Field(
        default=False, description="make up for ticks that were missed while the process was down"
    )

    @field_validator("every_s")
    @classmethod
    def _as_cron_can(cls, value: int) -> int:
        minutes, seconds = divmod(value, _MINUTE_S)
        if _MINUTE_S % value == 0 or (seconds == 0 and _MINUTE_S % minutes == 0):
            return value
        divisors = [str(n) for n in range(1, _MINUTE_S + 1) if _MINUTE_S % n == 0]
        few = f"{', '.join(divisors[:-1])} or {divisors[-1]}"
        raise ValueError(
            f"a cron schedule cannot tick evenly every {value} s: give {few} s, or as many minutes"
        )

    @property
    def cron(self) -> str:
        """The schedule in cron's terms, the first field being seconds."""
        if self.every_s < _MINUTE_S:
            return f"*/{self.every_s} * * * * *"
        minutes = self.every_s // _MINUTE_S
        return f"0 */{minutes} * * * *" if minutes < _MINUTE_S else "0 0 * * * *"

    def schedules(self) -> Sequence[Schedule]:
        """Return the one schedule of the run."""
        return [
            Schedule(
                name=SCHEDULE,
                workflow=beat,
                cron=self.cron,
                context={"every_s": self.every_s},
                backfill=self.backfill,
                queue=QUEUE,
            )
        ]


@DBOS.workflow(name=BEAT)
async def beat(scheduled: datetime, context: Mapping[str, Any]) -> None:
    """Record when a tick should have run, when it did, and in which process.

    The times are this host's, by whose clock DBOS fires too; PostgreSQL's may differ.
    """
    runtime = current_runtime()
    written: dict[str, Any] = {}

    async def record(transaction: Transaction) -> None:
        actual = datetime.now(UTC)
        await ledger.record_body(runtime, runtime.scope, "beat")
        times = {
            "scheduled": scheduled.isoformat(),
            "actual": actual.isoformat(timespec="microseconds"),
            "lateness_s": round((actual - scheduled).total_seconds(), 3),
        }
        connection = await transaction.connection()
        await connection.execute(
            "INSERT INTO aexp.events (run_id, event, workflow_id, pid, data)"
            " VALUES ($1, $2, $3, $4, $5::text::jsonb)",
            runtime.scope,
            EVENT,
            DBOS.workflow_id,
            os.getpid(),
            json.dumps(times),
        )
        written.update(times)

    await exactly_once(runtime, "beat", record)
    if written:
        # Not when its checkpoint was durable before this process recovered it.
        runtime.progress.advance()
        log.info(EVENT, **written, every_s=context["every_s"], pid=os.getpid())


@DBOS.workflow(name="heartbeat.watch")
async def watch(**given: Any) -> Mapping[str, Any]:
    """Wait for the ticks, remove the schedule, and tell how many there were.

    Takes the fields of HeartbeatParameters. Returns ``{"ticks", "first", "last"}``, the latter two
    scheduled times. There may be more ticks than were asked for: those that were on their way.
    """
    parameters = HeartbeatParameters.model_validate(given)
    await DBOS.run_step_async(
        {"name": "await_ticks", "preemptible": True}, _await_ticks, parameters.ticks
    )
    await DBOS.run_step_async({"name": "remove_schedule"}, _remove_schedule, parameters)
    result = await DBOS.run_step_async({"name": "tell", "preemptible": True}, _tell)
    log.info("heartbeat.run_ended", **result)
    return result


async def _await_ticks(ticks: int) -> None:
    runtime = current_runtime()
    await ledger.record_body(runtime, runtime.scope, "await_ticks")

    async def enough() -> bool:
        async with borrowed(runtime.database.pool) as connection:
            return await _recorded(connection, runtime.scope) >= ticks

    await runtime.until(enough)


async def _remove_schedule(parameters: HeartbeatParameters) -> None:
    # Here and not only after the run, so that what it tells is final.
    runtime = current_runtime()
    await ledger.record_body(runtime, runtime.scope, "remove_schedule")
    await retry_on_disconnect(lambda: retire(runtime, parameters.schedules()))


async def _tell() -> dict[str, Any]:
    """Wait for the ticks that are on their way, and count them all."""
    runtime = current_runtime()
    await ledger.record_body(runtime, runtime.scope, "tell")

    async def all_ended() -> bool:
        pool = runtime.database.pool
        return not await any_unfinished(pool, runtime.application_version, BEAT)

    await runtime.until(all_ended)
    row = await retry_on_disconnect(
        lambda: runtime.database.pool.fetchrow(
            "SELECT count(DISTINCT data->>'scheduled') AS ticks, min(data->>'scheduled') AS first,"
            " max(data->>'scheduled') AS last FROM aexp.events WHERE run_id = $1 AND event = $2",
            runtime.scope,
            EVENT,
        )
    )
    assert row is not None
    return dict(row)


async def _recorded(connection: Connection, run_id: str) -> int:
    count: int = await connection.fetchval(
        "SELECT count(DISTINCT data->>'scheduled') FROM aexp.events"
        " WHERE run_id = $1 AND event = $2",
        run_id,
        EVENT,
    )
    return count


async def _reached(connection: Connection, run: Run) -> Reached:
    return Reached(await _recorded(connection, run.run_id), run.parameters["ticks"])


SCENARIO = Scenario(
    name="heartbeat",
    summary="Tick on a schedule, be killed, and account for every tick.",
    workflow=watch,
    parameters=HeartbeatParameters,
    queues=lambda _parameters: [Queue(name=QUEUE, worker_concurrency=TICKS_AT_A_TIME)],
    schedules=HeartbeatParameters.schedules,
    reached=_reached,
    # Beside the ticks: await them, remove the schedule, tell.
    steps=lambda parameters, _facts: int(parameters.ticks) + 3,
    gather=gather,
    promises=PROMISES,
    account=account,
    # Ticks are of their time, and there may be more than were asked for: promises judge them.
    comparable=sorted,
)
