"""Judge whether anything of a run can still move, and say what each workflow waits for. Pure.

A workflow moves on its own, or when what it waits for does: so a run stands still when each of its
workflows that have not ended waits for another one of them, or for something that does not come.
Where that is not certain it moves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, TypeAlias

from aexp.engine.departures import Departure
from aexp.engine.statuses import UNFINISHED

__all__ = [
    "Blockage",
    "Cause",
    "RegisteredQueue",
    "RunLook",
    "UnfinishedWorkflow",
    "Wait",
    "WaitKind",
    "find_standstill",
    "name_blockage",
]

# DBOS's own queues, which every process serves.
_INTERNAL = "_dbos_"
_NOW = -math.inf


class Cause(IntEnum):
    """Why a workflow does not move, in the order in which it is told: first what is nobody's wait
    for another.
    """

    UNSERVED = 1
    MISSING = 2
    LEFT = 3
    ABANDONED = 4
    VERSION = 5
    MESSAGE = 6
    EVENT = 7
    SLEEP = 8
    FULL = 9
    OTHER = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedWorkflow:
    """A workflow as its row has it, or one that is waited for and has ended. Times are in seconds
    since the epoch.
    """

    workflow_id: str
    name: str
    status: str
    queue: str | None = None
    executor_id: str | None = None
    version: str | None = None
    delayed_until: float | None = None
    deadline: float | None = None
    updated_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredQueue:
    """A queue that a process has registered: whether this one serves it, and whether its limit is
    reached. ``full`` is that limit, None while there is a place or nobody can tell.
    """

    served: bool
    full: int | None = None


WaitKind: TypeAlias = Literal["result", "results", "message", "event", "sleep"]


@dataclass(frozen=True, slots=True)
class Wait:
    """A workflow waits for the end of one of ``targets`` (``result``) or of all (``results``), for
    a message on the topic ``key``, for the event ``key`` of a target, or for the time.

    ``ends_at`` is when it gives up at the latest, in seconds since the epoch, infinite when never.
    ``number`` tells it from any other one of its process.
    """

    workflow_id: str
    kind: WaitKind
    targets: Sequence[str] = ()
    key: str | None = None
    ends_at: float = math.inf
    number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLook:
    """All that is known of a run's workflows at one moment.

    ``active`` are those that run in this process. ``messages`` were sent and not received, by
    workflow and topic; ``events`` are set, by workflow and key. ``left`` says by workflow which
    error left it without an end. ``scheduled``: a schedule may start more.
    """

    root_id: str
    executor_id: str
    version: str
    no_topic: str
    workflows: Sequence[UnfinishedWorkflow]
    active: frozenset[str] = frozenset()
    waits: Sequence[Wait] = ()
    queues: Mapping[str, RegisteredQueue] = field(default_factory=dict)
    messages: frozenset[tuple[str, str]] = frozenset()
    events: frozenset[tuple[str, str]] = frozenset()
    left: Mapping[str, Departure] = field(default_factory=dict)
    registered: frozenset[str] | None = None
    scheduled: bool = False

    @property
    def fingerprint(self) -> object:
        """What changes whenever a workflow of the run does anything that leaves a trace."""
        return (
            frozenset((row.workflow_id, row.status, row.updated_ms) for row in self.workflows),
            frozenset(wait.number for wait in self.waits),
            self.active,
            self.messages,
            self.events,
        )


@dataclass(frozen=True, slots=True)
class Blockage:
    """Why a workflow does not move before ``until``: ``reason`` is a sentence about it."""

    cause: Cause
    workflow_id: str
    reason: str
    until: float = math.inf


def find_standstill(look: RunLook, *, before: float = math.inf) -> Sequence[Blockage]:
    """Return why nothing of the run moves before that time, the most telling first; nothing when
    something may.
    """
    if look.scheduled:
        return ()
    rows = {row.workflow_id: row for row in look.workflows}
    if look.root_id not in rows:
        return [Blockage(Cause.MISSING, look.root_id, f"workflow {look.root_id} does not exist")]
    unfinished = [row for row in look.workflows if row.status in UNFINISHED]
    blockages: list[Blockage] = []
    for row in unfinished:
        found = _blockages(look, rows, row)
        if not found or min(blockage.until for blockage in found) < before:
            return ()
        blockages += found
    return sorted(blockages, key=lambda blockage: blockage.cause)


def name_blockage(blockages: Sequence[Blockage]) -> str:
    """Return the first of the reasons, and how many more workflows have one like it."""
    first = blockages[0]
    alike = {each.workflow_id for each in blockages if each.cause is first.cause}
    more = f" (and {len(alike) - 1} more like it)" if len(alike) > 1 else ""
    return first.reason + more


def _blockages(
    look: RunLook, rows: Mapping[str, UnfinishedWorkflow], row: UnfinishedWorkflow
) -> Sequence[Blockage]:
    """Return why ``row`` does not move: a reason for each of its waits, nothing when it may."""
    until = row.deadline if row.deadline is not None else math.inf
    if row.status == "PENDING":
        found = _of_claimed(look, rows, row)
    elif row.status == "DELAYED":
        reason = f"{row.workflow_id} is delayed"
        found = [Blockage(Cause.SLEEP, row.workflow_id, reason, row.delayed_until or _NOW)]
    else:
        found = _of_enqueued(look, rows, row)
    return [
        Blockage(each.cause, each.workflow_id, each.reason, min(each.until, until))
        for each in found
    ]


def _of_enqueued(
    look: RunLook, rows: Mapping[str, UnfinishedWorkflow], row: UnfinishedWorkflow
) -> Sequence[Blockage]:
    who = row.workflow_id
    if row.queue is None or row.queue.startswith(_INTERNAL):
        return ()
    if row.version not in {None, look.version}:
        reason = (
            f"{who} is {row.status} for version {row.version!r}, which no process of this run has"
        )
        return [Blockage(Cause.VERSION, who, reason)]
    queue = look.queues.get(row.queue)
    if queue is None or not queue.served:
        lacks = "has registered" if queue is None else "serves"
        return [
            Blockage(
                Cause.UNSERVED,
                who,
                f"{who} waits on queue {row.queue!r}, which no process {lacks}: call"
                f" DBOS.register_queue({row.queue!r}) at module level, not below `if __name__ =="
                f' "__main__":`, or give a Scenario queues=… Queue({row.queue!r}, shared=True)',
            )
        ]
    if queue.full is None:
        return ()
    taken = [
        other.workflow_id
        for other in rows.values()
        if other.queue == row.queue and other.status == "PENDING"
    ]
    if len(taken) < queue.full:
        # Others than the run's have places there, and may leave them.
        return ()
    reason = (
        f"{who} waits for a place on queue {row.queue!r}: its limit is {queue.full}, and"
        f" {_named(taken)} waits there for something else"
    )
    return [Blockage(Cause.FULL, who, reason)]


def _of_claimed(
    look: RunLook, rows: Mapping[str, UnfinishedWorkflow], row: UnfinishedWorkflow
) -> Sequence[Blockage]:
    who = row.workflow_id
    if row.executor_id != look.executor_id:
        # Of an executor that may come back, or whose work may be handed over.
        return ()
    if who not in look.active:
        return [_abandoned(look, row)]
    waits = [wait for wait in look.waits if wait.workflow_id == who]
    found: list[Blockage] = []
    for wait in waits:
        blockage = _of_wait(look, rows, wait)
        if blockage is None:
            return ()
        found.append(blockage)
    return found


def _abandoned(look: RunLook, row: UnfinishedWorkflow) -> Blockage:
    who = row.workflow_id
    told = f"{who} is PENDING, and nobody works on it"
    if who in look.left:
        left = look.left[who]
        if left.step is not None:
            reason = f"{told}: a {left.error} left its step `{left.step}`"
            return Blockage(Cause.LEFT, who, reason)
        return Blockage(Cause.ABANDONED, who, f"{told}: a {left.error} left its body")
    if look.registered is not None and row.name not in look.registered:
        told += f": this process has no workflow {row.name!r}"
    return Blockage(Cause.ABANDONED, who, told)


def _of_wait(look: RunLook, rows: Mapping[str, UnfinishedWorkflow], wait: Wait) -> Blockage | None:
    """Return why a wait does not end; None when it may at once."""
    if wait.kind in {"result", "results"}:
        return _of_result(rows, wait)
    if wait.kind == "message":
        if (wait.workflow_id, wait.key or look.no_topic) in look.messages:
            return None
        topic = f" on topic {wait.key!r}" if wait.key not in {None, look.no_topic} else ""
        reason = f"{wait.workflow_id} waits for a message{topic} that nobody has sent"
        return Blockage(Cause.MESSAGE, wait.workflow_id, reason, wait.ends_at)
    if wait.kind == "event":
        (target,) = wait.targets
        if (target, wait.key) in look.events:
            return None
        reason = f"{wait.workflow_id} waits for event {wait.key!r} of workflow {target}, which "
        if target not in rows:
            reason += "does not exist"
        elif rows[target].status in UNFINISHED:
            reason += "has not set it"
        else:
            reason += "ended without setting it"
        return Blockage(Cause.EVENT, wait.workflow_id, reason, wait.ends_at)
    return Blockage(Cause.SLEEP, wait.workflow_id, f"{wait.workflow_id} sleeps", wait.ends_at)


def _of_result(rows: Mapping[str, UnfinishedWorkflow], wait: Wait) -> Blockage | None:
    who = wait.workflow_id
    ended = {
        target
        for target in wait.targets
        if target in rows and rows[target].status not in UNFINISHED
    }
    if ended and (wait.kind == "result" or len(ended) == len(wait.targets)):
        return None
    missing = [target for target in wait.targets if target not in rows]
    if missing:
        child = missing[0].startswith(f"{who}-")
        what = f"its child {missing[0]}" if child else f"workflow {missing[0]}"
        reason = f"{who} waits for ever: {what} does not exist"
        return Blockage(Cause.MISSING, who, reason, wait.ends_at)
    left = [target for target in wait.targets if target not in ended]
    reason = f"{who} waits for the end of {_named(left)}, which does not come"
    return Blockage(Cause.OTHER, who, reason, wait.ends_at)


def _named(ids: Sequence[str]) -> str:
    return ids[0] if len(ids) == 1 else f"one of {', '.join(ids[:3])}{', …' * (len(ids) > 3)}"
