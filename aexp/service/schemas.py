"""The shapes of requests and answers, as the OpenAPI document tells them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from aexp.model.run_ids import RUN_ID_PATTERN
from aexp.runs.kill_plan import MOST_KILLS

__all__ = [
    "Absent",
    "ForkOrigin",
    "ForkRequest",
    "Problem",
    "RunDetail",
    "RunPage",
    "RunProgress",
    "RunRequest",
    "RunSummary",
    "ScenarioInfo",
    "ScenarioList",
    "StepInfo",
    "StepPage",
    "WorkflowNode",
    "WorkflowTree",
]

_MOST_NESTING = 20


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """What is wrong (RFC 9457). ``type`` never changes for the same kind of problem."""

    type: str = Field(examples=["urn:aexp:problem:unknown-run"])
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] | None = Field(
        None, description="each problem of a request that is not valid: `where` and `what`"
    )
    reasons: list[str] | None = Field(None, description="why the service is not ready")


def _storable(value: Any, depth: int = 0) -> Any:
    """Refuse what PostgreSQL's JSON cannot hold."""
    if depth > _MOST_NESTING:
        raise ValueError(f"values are nested more than {_MOST_NESTING} deep")
    if isinstance(value, str):
        if "\0" in value or (not value.isascii() and _is_broken(value)):
            raise ValueError("a text has a NUL or is no valid Unicode")
    elif isinstance(value, dict):
        for key, inner in value.items():
            _storable(key, depth)
            _storable(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _storable(inner, depth + 1)
    return value


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


class RunRequest(_Shape):
    """How to run a scenario."""

    parameters: Annotated[dict[str, Any], AfterValidator(_storable)] = Field(
        default_factory=dict,
        description="the scenario's parameters by name; those left out have their defaults",
    )
    kills: int = Field(
        0,
        ge=0,
        le=MOST_KILLS,
        strict=True,
        description="kill its process so many times with SIGKILL, and start it again",
    )
    seed: int = Field(
        0, ge=-(2**63), lt=2**63, strict=True, description="chooses the moments of the kills"
    )


class ForkRequest(_Shape):
    """Where to fork a run."""

    start_step: int = Field(
        1,
        ge=1,
        lt=2**31,
        strict=True,
        description="the first step of the root workflow that the fork does itself: the"
        " checkpoints of those before it are copied. With 1 nothing is, and it is a new run of the"
        " same; with more, what the scenario itself promises cannot be judged of it",
    )
    run_id: str | None = Field(
        None,
        pattern=RUN_ID_PATTERN,
        description="id of the fork: a request with the same id and step is the same fork",
    )


class ForkOrigin(_Shape):
    """What a run was forked from, and the first step that it did itself."""

    run_id: str = Field(examples=["resume-0a1b2c3d"])
    start_step: int


class PromiseInfo(_Shape):
    """What a scenario promises of every run."""

    name: str
    statement: str


class ScenarioInfo(_Shape):
    """A scenario that can be run by its name."""

    name: str = Field(examples=["resume"])
    summary: str
    parameters: dict[str, Any] = Field(description="JSON schema of the parameters")
    promises: list[PromiseInfo]


class ScenarioList(_Shape):
    """All scenarios, by name."""

    scenarios: list[ScenarioInfo]


class RunSummary(_Shape):
    """A run in a list."""

    run_id: str
    scenario: str
    status: str = Field(
        description="of the root workflow: DBOS's own word, or NOT STARTED", examples=["SUCCESS"]
    )
    active: bool = Field(description="whether this service works on it at the moment")
    created_at: datetime
    parameters: dict[str, Any]


class RunPage(_Shape):
    """Runs, newest first."""

    runs: list[RunSummary]
    next: str | None = Field(description="`cursor` of the next page; null on the last one")


class RunProgress(_Shape):
    """How far a run has come."""

    done: int
    total: int | None = Field(description="null when nobody knows")


class Kills(_Shape):
    """Kills that were asked for, those that have landed, and what chose their moments."""

    asked: int
    landed: int
    seed: int


class Absent(_Shape):
    """An executor that is not there, and how many workflows of the run it has claimed."""

    executor_id: str
    workflows: int


class RunDetail(RunSummary):
    """A run with all that is told of it."""

    forked_from: ForkOrigin | None = Field(description="null when it is no fork")
    ended: bool = Field(description="whether all its workflows have ended")
    forkable: bool = Field(
        description="whether it can be forked: it has ended, has no schedules, and its scenario is"
        " known here"
    )
    progress: RunProgress | None = Field(
        description="what all executors have done; that of others may be some seconds old. null"
        " when the scenario does not tell"
    )
    kills: Kills | None = Field(description="null when none were asked for")
    waiting_for: list[Absent] = Field(
        description="executors without which it cannot end: start them again, or hand their work to"
        " the living with `aexp recover EXECUTOR_ID`"
    )
    ok: bool | None = Field(
        description="whether it ended well and kept its promises; null while it has not ended"
    )
    report: dict[str, Any] | None = Field(
        description="as `aexp audit --json` prints it: promises, account, processes; null when not"
        " asked for, and for a scenario that this service does not know"
    )


class WorkflowNode(_Shape):
    """A workflow and the workflows that it started."""

    workflow_id: str
    name: str
    status: str
    queue: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    attempts: int
    children: list[WorkflowNode]


class WorkflowTree(_Shape):
    """The workflows of a run: its root first, then those that no workflow started."""

    workflows: list[WorkflowNode]
    total: int
    shown: int = Field(description="less than the total when there are very many")


class StepInfo(_Shape):
    """A checkpoint: a step that has ended."""

    workflow_id: str
    step_id: int
    name: str
    began_at: datetime | None
    ended_at: datetime | None
    child_workflow_id: str | None
    copied: bool = Field(description="whether it comes from the run that this one was forked from")
    output: str | None = Field(description="a short text")
    error: str | None = Field(description="a short text")


class StepPage(_Shape):
    """Checkpoints, by workflow and number."""

    steps: list[StepInfo]
    next: str | None = Field(description="`cursor` of the next page; null on the last one")
