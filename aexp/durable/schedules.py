"""Schedules that live as long as their run, and whose ticks no kill loses or doubles.

DBOS fires a schedule from a thread of each living process; a tick's workflow id follows from its
time, so none runs twice. What it fires too little is made up for here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import anyio.to_thread
from dbos import DBOS

from aexp.database.retry import retry_on_disconnect
from aexp.engine.config import SCHEDULER_POLL_S
from aexp.engine.runtime import Runtime

__all__ = ["Schedule", "apply_schedules", "retire"]

# After so long DBOS has seen that a schedule is there, or has gone.
_NOTICED_S = 2 * SCHEDULER_POLL_S

# What befalls a schedule, in aexp.events: DBOS knows neither when it first existed nor that it is
# not to come back.
_BEGAN = "schedule.began"
_RETIRED = "schedule.retired"
# Every tick before that moment has been fired or made up for.
_MADE_UP = "schedule.made_up"
_OVERLAP = timedelta(seconds=1)
# Between two slices somebody may stop it.
_SHORTEST_SLICE = timedelta(seconds=200)
_MOST_SLICES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule that exists while its run does; ``cron`` may have a field for seconds first.

    ``workflow`` is called with the scheduled time and ``context``. Ticks that no process was up to
    see are lost unless ``backfill``: then each tick since the schedule first existed, up to the
    last one that fired, runs exactly once. They go through ``queue``, one of the run's own, or
    DBOS's internal one, which is polled each second.
    """

    name: str
    workflow: Callable[..., Coroutine[Any, Any, Any]]
    cron: str
    context: Any = None
    backfill: bool = False
    queue: str | None = None


def schedule_name(runtime: Runtime, schedule: Schedule) -> str:
    """Return what DBOS calls ``schedule``: it belongs to its run."""
    return f"{schedule.name}.{runtime.scope}"


async def apply_schedules(
    runtime: Runtime, schedules: Sequence[Schedule], stop: Callable[[], bool]
) -> None:
    """Have DBOS fire ``schedules`` until they are retired.

    Those that have been retired stay so. Ticks that nobody was there to fire are made up for where
    a schedule asks for that, until ``stop`` says so: the next process goes on with them. The
    runtime needs an application of its own.
    """
    for schedule in schedules:
        await _apply(runtime, schedule, stop)
    runtime.scheduled.set()


async def _apply(runtime: Runtime, schedule: Schedule, stop: Callable[[], bool]) -> None:
    name = schedule_name(runtime, schedule)
    if await _noted(runtime, _RETIRED, name) is not None:
        return
    await _note_once(runtime, _BEGAN, name)
    await DBOS.apply_schedules_async(
        [
            {
                "schedule_name": name,
                "workflow_fn": schedule.workflow,
                "schedule": schedule.cron,
                "context": schedule.context,
                # DBOS's own backfill starts after the last tick that fired, so not at all after a
                # kill before the first one; the ticks that pass between its end and the start of
                # its thread are lost; and so is one that finds the database away.
                "automatic_backfill": False,
                "queue_name": runtime.queue_name(schedule.queue) if schedule.queue else None,
            }
        ]
    )
    if schedule.backfill:
        # Only now, so that nothing lies between what we make up and what DBOS fires.
        await anyio.sleep(_NOTICED_S)
        await _make_up(runtime, name, datetime.now(UTC), stop)


async def _make_up(runtime: Runtime, name: str, until: datetime, stop: Callable[[], bool]) -> None:
    """Enqueue the ticks before ``until`` that nobody has fired since the schedule first existed.

    A tick's workflow id follows from its time, so one that DBOS has fired is found and not fired
    again. Costs a query for each tick since the last time.
    """
    began = await _noted(runtime, _BEGAN, name)
    if began is None:
        return
    start = await _noted(runtime, _MADE_UP, name) or began
    step = max(_SHORTEST_SLICE, (until - start) / _MOST_SLICES)
    while start < until and not stop():
        end = min(until, start + step)
        # What DBOS backfills lies between its two moments, so the first one is put before a tick
        # that could fall on it.
        await retry_on_disconnect(
            lambda start=start, end=end: anyio.to_thread.run_sync(  # type: ignore[misc]
                DBOS.backfill_schedule, name, max(began, start - _OVERLAP), end
            )
        )
        await _note(runtime, _MADE_UP, name, end)
        start = end


async def _noted(runtime: Runtime, event: str, name: str) -> datetime | None:
    """Return when ``event`` last befell the schedule, by the clock of the process that saw it."""
    at = await retry_on_disconnect(
        lambda: runtime.database.pool.fetchval(
            "SELECT max(data->>'at') FROM aexp.events"
            " WHERE run_id = $1 AND event = $2 AND data->>'schedule' = $3",
            runtime.scope,
            event,
            name,
        )
    )
    return datetime.fromisoformat(at) if at is not None else None


async def _note_once(runtime: Runtime, event: str, name: str) -> None:
    if await _noted(runtime, event, name) is None:
        await _note(runtime, event, name, datetime.now(UTC))


async def _note(runtime: Runtime, event: str, name: str, at: datetime) -> None:
    row = (
        runtime.scope,
        event,
        os.getpid(),
        {"schedule": name, "at": at.isoformat(timespec="microseconds")},
    )
    await retry_on_disconnect(
        lambda: runtime.database.pool.execute(
            "INSERT INTO aexp.events (run_id, event, pid, data) VALUES ($1, $2, $3, $4)", *row
        )
    )


async def retire(runtime: Runtime, schedules: Sequence[Schedule]) -> None:
    """Remove the ``schedules`` of a run for good; one that is gone already is no error.

    Returns when DBOS has noticed, so that no more ticks come; those before the last one that fired
    have been made up for where the schedule asks for that. A workflow may call it in a step.
    """
    # A recovered workflow may come here while we still make up for the time before it.
    await runtime.scheduled.wait()
    present = [
        schedule
        for schedule in schedules
        if await DBOS.get_schedule_async(schedule_name(runtime, schedule)) is not None
    ]
    for schedule in present:
        await anyio.to_thread.run_sync(DBOS.pause_schedule, schedule_name(runtime, schedule))
    if present:
        await anyio.sleep(_NOTICED_S)
    for schedule in present:
        name = schedule_name(runtime, schedule)
        if schedule.backfill:
            paused = await DBOS.get_schedule_async(name)
            if paused is not None and paused["last_fired_at"]:
                last_fired = datetime.fromisoformat(paused["last_fired_at"])
                await _make_up(runtime, name, last_fired, runtime.draining.is_set)
                if runtime.draining.is_set():
                    await runtime.park()
        await _note_once(runtime, _RETIRED, name)
        await DBOS.delete_schedule_async(name)
