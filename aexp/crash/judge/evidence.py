"""What one experiment leaves behind, as plain data: the rows of DBOS, what the proxy saw, and what
the workers told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aexp.crash.http.received import ReceivedRequest
from aexp.crash.judge.ownership import Takeover
from aexp.crash.judge.points import Fault
from aexp.crash.judge.values import NO_VALUE, StoredValue
from aexp.crash.proxy.writes import Write
from aexp.engine.recorder.records import Record, StepBegan
from aexp.model.promise import Verdict

__all__ = [
    "Body",
    "Checkpoint",
    "Deadline",
    "EventRecord",
    "Evidence",
    "Landed",
    "LifeRecord",
    "Message",
    "Outage",
    "Recorded",
    "ScheduleRecord",
    "Seen",
    "StepRecord",
    "Stranded",
    "StreamEntry",
    "TableContent",
    "WorkflowRecord",
]


@dataclass(frozen=True, slots=True)
class WorkflowRecord:
    """A workflow as DBOS has it at the end."""

    workflow_id: str
    name: str
    status: str
    executor_id: str | None = None
    application_version: str | None = None
    recovery_attempts: int = 0
    queue: str | None = None
    instance: str | None = None
    parent_id: str | None = None
    inputs_digest: str | None = None
    outcome: StoredValue = NO_VALUE


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A checkpoint that stands in the database at the end; ``failed`` when its outcome is an
    error. ``child_id`` is the workflow that it started.
    """

    workflow_id: str
    step_id: int
    name: str
    outcome: StoredValue = NO_VALUE
    failed: bool = False
    child_id: str | None = None


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event as it stands at the end."""

    workflow_id: str
    key: str
    value: StoredValue


@dataclass(frozen=True, slots=True)
class Deadline:
    """What has an end in time: ``waits`` is the step that waits for it, ``timeout`` of a workflow,
    ``delay`` or ``debounce`` of one that is enqueued, or ``rate limit``. It was ``set_at`` and
    lasts ``until``, in seconds since the epoch. ``topic`` is that of a message that was received.
    """

    workflow_id: str
    step_id: int | None
    waits: str
    set_at: float
    until: float
    topic: str | None = None


@dataclass(frozen=True, slots=True)
class ScheduleRecord:
    """A schedule that is active at the end. Without a ``timezone`` its times are those of UTC; with
    ``backfill`` DBOS makes up for times that it has missed.
    """

    name: str
    cron: str
    timezone: str | None
    backfill: bool


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was sent to a workflow, received or not."""

    workflow_id: str
    topic: str | None


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """An entry of a stream, and the step that wrote it, or whose body did."""

    workflow_id: str
    key: str
    step_id: int
    value: StoredValue


@dataclass(frozen=True, slots=True)
class TableContent:
    """What stands in a table of the user's at the end.

    ``rows`` are its rows by column, as JSON texts; None when there are too many, of which only the
    ``count`` is known. ``numbered`` are the columns that a sequence fills, and those that refer to
    them: a transaction that was rolled back leaves a gap there.
    """

    count: int
    columns: Sequence[str]
    numbered: frozenset[str]
    rows: Sequence[Mapping[str, str]] | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a worker noted of its steps, in the ``life``-th life."""

    life: int
    record: Record


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that the proxy saw become durable, in the ``life``-th life, at ``at``."""

    workflow_id: str
    step_id: int
    life: int
    at: float


@dataclass(frozen=True, slots=True)
class Body:
    """A step's body that began, in the ``life``-th life, at ``at`` (the same clock)."""

    workflow_id: str
    step_id: int
    name: str
    life: int
    at: float


@dataclass(frozen=True, slots=True)
class Stranded:
    """Work that a process could not take up: ``expected`` is how the process was made wrong,
    ``causes`` are what the rows and its log say, each with the workflows that it keeps.
    """

    expected: str
    causes: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class LifeRecord:
    """A worker from its start to its end.

    ``code`` is its exit code, negative for a signal, None when it outlived the deadline and was
    ended by us; ``killed`` says that it was a fault's kill that ended it, ``stalled`` that it lived
    on after a lost acknowledgement, did nothing more, and was killed to be started again.
    ``standstill`` is why nothing of the run could move any more, by its own account.
    ``stranded`` is what kept a wrongly started one from the work, None where it was not wrong or
    came to the end all the same. ``stopped``: a SIGSTOP was to hold it up. ``log`` are its last
    lines.
    """

    pid: int
    code: int | None
    killed: bool
    stalled: bool = False
    standstill: str | None = None
    stranded: Stranded | None = None
    stopped: bool = False
    log: Sequence[str] = ()

    @property
    def last_words(self) -> str:
        """The last line that it logged."""
        return next((line for line in reversed(self.log) if line.strip()), "it said nothing")


@dataclass(frozen=True, slots=True)
class Outage:
    """PostgreSQL was stopped, from ``at`` on, and started again.

    ``ended`` is when the server began that was stopped, ``began`` when the one after it did, by
    their own account. ``standing`` are the checkpoints, by workflow and step, that stood in the
    database when nobody had written there since.
    """

    at: float
    ended: datetime
    began: datetime
    standing: frozenset[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of one experiment. Times are seconds on one monotonic clock, whose zero is
    ``clock_offset_s`` after the epoch.

    ``outcome`` is the root's result (an error as text), ``verdicts`` are the audit's: the promises
    of every run and the scenario's own. ``duplicates`` is None when the scenario does not count
    them. ``recovery_s`` is from the last fault to the end, None when there was none.
    """

    status: str
    outcome: Any
    lives: Sequence[LifeRecord]
    workflows: Sequence[WorkflowRecord]
    steps: Sequence[StepRecord]
    checkpoints: Sequence[Checkpoint]
    verdicts: Sequence[Verdict] = ()
    duplicates: int | None = None
    recovery_s: float | None = None
    outages: Sequence[Outage] = ()
    take_over: Takeover | None = None
    run_id: str = "crash"
    records: Sequence[Recorded] = ()
    events: Sequence[EventRecord] = ()
    entries: Sequence[StreamEntry] = ()
    messages: Sequence[Message] = ()
    # By ``database.schema.table``; without the database where it is that of the run.
    tables: Mapping[str, TableContent] = field(default_factory=dict)
    writes: Sequence[Seen] = ()
    # What stubs received, in order.
    requests: Sequence[ReceivedRequest] = ()
    deadlines: Sequence[Deadline] = ()
    schedules: Sequence[ScheduleRecord] = ()
    clock_offset_s: float = 0.0

    @property
    def bodies(self) -> Sequence[Body]:
        """The steps' bodies that began, as the workers noted."""
        return [
            Body(begun.workflow_id, begun.step_id, begun.name, recorded.life, begun.at)
            for recorded in self.records
            if isinstance(begun := recorded.record, StepBegan) and begun.step_id is not None
        ]

    @property
    def restarted(self) -> bool:
        """Whether a process that no fault had killed had to be started again."""
        return any(
            not (life.killed or life.stopped) and life.stranded is None for life in self.lives[:-1]
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """A write that became durable in the ``life``-th life of the worker, at ``at`` (monotonic)."""

    write: Write
    life: int
    at: float


@dataclass(frozen=True, slots=True)
class Landed:
    """A fault that did strike, at ``at`` (monotonic), in the ``life``-th life.

    ``code`` is how the worker ended by it: None when it lives on. ``doubted`` are the writes that
    may be durable although a living worker did not hear of it.
    """

    fault: Fault
    write: Write
    life: int
    at: float
    code: int | None
    outage: Outage | None = None
    doubted: Sequence[Write] = ()
