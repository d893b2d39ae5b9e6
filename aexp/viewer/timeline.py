"""When each workflow and step of a run happened, in which process, and what a kill undid: data.

Times in rows are ms since the epoch, those of a timeline ms since it began. Checkpoints carry the
clock of the process that wrote them, bodies that of the database; on one machine these are the
same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "Attempt",
    "Bar",
    "BarKind",
    "BodyRow",
    "Fate",
    "Lane",
    "Life",
    "LifeKind",
    "StepRow",
    "Timeline",
    "WorkflowRow",
]

LifeKind = Literal["completed", "killed", "interrupted", "failed", "vanished", "working"]
BarKind = Literal["step", "sleep", "wait", "start"]
Fate = Literal["lost", "failed", "kept", "repeated", "running"]


@dataclass(frozen=True, slots=True)
class WorkflowRow:
    """A workflow as DBOS has it; ``output`` and ``error`` are text."""

    workflow_id: str
    name: str
    parent_id: str | None
    queue: str | None
    status: str
    created_ms: int
    started_ms: int | None
    completed_ms: int | None
    attempts: int
    output: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class StepRow:
    """A checkpoint."""

    workflow_id: str
    function_id: int
    name: str
    began_ms: int | None
    ended_ms: int | None
    child_workflow_id: str | None = None
    output: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class BodyRow:
    """A step's body that began, as the ledger saw it (see aexp.durable.ledger)."""

    workflow_id: str
    step_id: int
    step: str
    pid: int
    began_ms: float
    checkpointed: bool = False


@dataclass(frozen=True, slots=True)
class Life:
    """A process's time on the run, and how that ended.

    ``seen`` is False when nobody saw its end: ``ended`` is then the last trace that it left.
    """

    number: int
    pid: int
    executor: str
    began: int
    ended: int
    how: str
    kind: LifeKind
    seen: bool


@dataclass(frozen=True, slots=True)
class Bar:
    """A step with a checkpoint.

    ``process`` is the place in ``Timeline.processes`` of the one that was alive when it ended: good
    enough, as one process at a time works on a run; None when none was, as with a sleep whose time
    ran out meanwhile. ``bodies`` is how often its body began, None when the ledger does not tell.
    """

    function_id: int
    name: str
    began: int
    ended: int
    kind: BarKind
    outcome: Literal["ok", "error"]
    process: int | None
    child_workflow_id: str | None
    bodies: int | None
    output: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A body that began and did not come to its checkpoint at once.

    ``lost``: its process ended first. ``failed``: it raised, and was tried again in its process.
    ``kept``: its transaction was durable before its process ended, so it was not done again.
    ``repeated``: it began although its step had a checkpoint, which must not be. ``running``: its
    process lives.
    """

    function_id: int
    name: str
    began: int
    ended: int
    fate: Fate
    process: int | None


@dataclass(frozen=True, slots=True)
class Lane:
    """A workflow. ``parent`` is its place in ``Timeline.lanes``, None when it is not shown.

    ``began`` is when it first did something: ``started`` is set anew when it is recovered.
    ``attempts`` counts how often a process took it up.
    """

    workflow_id: str
    name: str
    parent_id: str | None
    parent: int | None
    depth: int
    queue: str | None
    mode: Literal["direct", "queued"]
    status: str
    created: int
    began: int | None
    started: int | None
    completed: int | None
    attempts: int
    output: str | None
    error: str | None
    bars: Sequence[Bar] = ()
    attempted: Sequence[Attempt] = ()


BAR_COLUMNS = (
    "function_id", "name", "began", "ended", "kind", "outcome", "process", "child_workflow_id",
    "bodies", "output", "error",
)  # fmt: skip
ATTEMPT_COLUMNS = ("function_id", "name", "began", "ended", "fate", "process")
LANE_COLUMNS = (
    "workflow_id", "name", "parent_id", "parent", "depth", "queue", "mode", "status", "created",
    "began", "started", "completed", "attempts", "output", "error",
)  # fmt: skip
LIFE_COLUMNS = ("number", "pid", "executor", "began", "ended", "how", "kind", "seen")


@dataclass(frozen=True, slots=True)
class Timeline:
    """A run from its first trace to its last: ``began_at`` and ``ended_at`` in ms since the epoch.

    ``lanes`` are in the order of the tree, parents before their children. ``truncated`` counts what
    is not shown, by kind; it is empty when all is.
    """

    began_at: int
    ended_at: int
    processes: Sequence[Life]
    lanes: Sequence[Lane]
    truncated: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return JSON values. Lanes are objects; their ``bars`` and ``attempted`` are rows of
        arrays whose columns are named once, in ``columns``.
        """
        return {
            "began_at": self.began_at,
            "ended_at": self.ended_at,
            "processes": [
                {column: getattr(life, column) for column in LIFE_COLUMNS}
                for life in self.processes
            ],
            "columns": {"bars": list(BAR_COLUMNS), "attempted": list(ATTEMPT_COLUMNS)},
            "lanes": [
                {
                    **{column: getattr(lane, column) for column in LANE_COLUMNS},
                    "bars": [[getattr(bar, column) for column in BAR_COLUMNS] for bar in lane.bars],
                    "attempted": [
                        [getattr(attempt, column) for column in ATTEMPT_COLUMNS]
                        for attempt in lane.attempted
                    ],
                }
                for lane in self.lanes
            ],
            "truncated": dict(self.truncated),
        }
