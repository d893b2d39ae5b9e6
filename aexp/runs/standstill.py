"""See that nothing of a run can move any more, and end it then instead of waiting for ever."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg
import structlog

from aexp.database.connect import Connection
from aexp.engine.departures import find_departures
from aexp.engine.log_records import expect_aborts
from aexp.engine.registry import active_workflows, serves_queue, workflow_names
from aexp.engine.runtime import Runtime
from aexp.engine.standstill import (
    Blockage,
    Cause,
    RegisteredQueue,
    RunLook,
    UnfinishedWorkflow,
    find_standstill,
    name_blockage,
)
from aexp.engine.tables import waits
from aexp.engine.waiting import NO_TOPIC, all_wait, any_timed, list_waits
from aexp.errors import Standstill
from aexp.model.run import Run
from aexp.runs.leases import has_others

__all__ = ["StandstillWatch"]

# Between two looks: longer than DBOS takes from a claim, or from a recovery, to the workflow.
_LOOK_S = 1.0
# So many looks without a change in between.
_LOOKS = 3
# A run of more workflows than this is not looked at whole.
_MOST = 2000
# Whoever waits for longer than this for what nobody has sent is told of.
_SOON_S = 5.0

log = structlog.stdlib.get_logger("aexp.runs.standstill")


@dataclass(slots=True)
class StandstillWatch:
    """Looks now and then whether a run that this process works on alone stands still.

    With a ``deadline``, in seconds since the epoch, what would move only after it does not count.
    Without one, who waits for a message or an event that nobody has sent is told of once, and
    waited for: it may come from elsewhere.
    """

    runtime: Runtime
    connection: Connection
    run: Run
    deadline: float | None = None
    _looked_at: float = field(default_factory=time.monotonic)
    _known: object = None
    _looks: int = 0
    _told: set[str] = field(default_factory=set)

    async def look(self) -> None:
        """Raise Standstill when nothing can move any more, as seen in several looks."""
        if time.monotonic() - self._looked_at < _LOOK_S:
            return
        self._looked_at = time.monotonic()
        look = await self._gather()
        if look is None:
            self._known, self._looks = None, 0
            return
        before = self.deadline if self.deadline is not None else time.time() + _SOON_S
        blockages = find_standstill(look, before=before)
        if not blockages:
            self._known, self._looks = None, 0
            return
        known, self._known = self._known, look.fingerprint
        self._looks = self._looks + 1 if known == self._known else 1
        if self._looks >= _LOOKS:
            self._conclude(look, blockages)

    def _conclude(self, look: RunLook, blockages: Sequence[Blockage]) -> None:
        final = blockages if self.deadline is not None else find_standstill(look)
        unsent = [
            blockage
            for blockage in blockages
            if blockage.cause in {Cause.MESSAGE, Cause.EVENT} and blockage.reason not in self._told
        ]
        if not (final or unsent) or any_timed(self.runtime.own_tasks):
            return
        if final:
            self._end(final)
        for blockage in unsent:
            self._told.add(blockage.reason)
            left_s = math.floor(blockage.until - time.time())
            log.warning("run.waits", reason=blockage.reason, gives_up_in_s=left_s)

    def _end(self, blockages: Sequence[Blockage]) -> None:
        # What still runs here is left as it is, and ends with DBOS or with its loop.
        expect_aborts()
        reason = name_blockage(blockages)
        first = blockages[0]
        if first.until < math.inf:
            left_s = first.until - time.time()
            reason += f", and that lasts {left_s:.0f} s more: {_advice(first.cause)}"
        raise Standstill(reason)

    async def _gather(self) -> RunLook | None:
        """Gather what is known; None as soon as it is plain that something moves."""
        runtime, run, connection = self.runtime, self.run, self.connection
        waiting = list_waits()
        # DBOS does not count among the active ones a child that its parent has called directly.
        started = active_workflows(runtime.dbos)
        active = started | {wait.workflow_id for wait in waiting}
        if runtime.draining.is_set() or not all_wait(started, runtime.own_tasks):
            return None
        executor_id = runtime.settings.executor_id
        if await has_others(connection, run.run_id, executor_id):
            return None
        version = run.application_version
        targets = {run.run_id, *(target for wait in waiting for target in wait.targets)}
        rows = await waits.list_unfinished(connection, version, targets, _MOST + 1)
        if len(rows) > _MOST:
            return None
        workflows = [
            UnfinishedWorkflow(
                workflow_id=row["workflow_id"],
                name=row["name"],
                status=row["status"],
                queue=row["queue"],
                executor_id=row["executor_id"],
                version=row["version"],
                delayed_until=_seconds(row["delayed_ms"]),
                deadline=_seconds(row["deadline_ms"]),
                updated_ms=row["updated_at"],
            )
            for row in rows
        ]
        named = {row.queue for row in workflows if row.queue is not None}
        messages = await waits.list_messages(connection, {wait.workflow_id for wait in waiting})
        events = await waits.list_events(connection, targets)
        return RunLook(
            root_id=run.run_id,
            executor_id=executor_id,
            version=version,
            no_topic=NO_TOPIC,
            workflows=workflows,
            active=frozenset(active),
            waits=waiting,
            queues={
                row["name"]: RegisteredQueue(
                    served=serves_queue(runtime.dbos, row["name"], row["application"]),
                    full=_limit_reached(row),
                )
                for row in await waits.list_queues(connection, named)
            },
            messages=frozenset((row["workflow_id"], row["topic"]) for row in messages),
            events=frozenset((row["workflow_id"], row["key"]) for row in events),
            left=find_departures(),
            registered=workflow_names(),
            scheduled=await waits.any_active_schedule(connection, runtime.application),
        )


def _advice(cause: Cause) -> str:
    """Say what to do about a wait that lasts longer than there is time."""
    if cause not in {Cause.MESSAGE, Cause.EVENT}:
        return "give a longer --deadline"
    does = "sends it" if cause is Cause.MESSAGE else "sets it"
    return (
        f"start what {does} from the workflow, or from a Scenario whose workflow calls it; or make"
        " the timeout a parameter and give a shorter one by --set"
    )


def _seconds(milliseconds: int | None) -> float | None:
    return milliseconds / 1000 if milliseconds is not None else None


def _limit_reached(row: asyncpg.Record) -> int | None:
    """Return the limit of a queue whose places are all taken; this process is the only one."""
    if row["partitioned"]:
        return None
    limits = [row[name] for name in ("concurrency", "worker_concurrency") if row[name] is not None]
    return min(limits) if limits and row["pending"] >= min(limits) else None
