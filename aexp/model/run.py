"""A run, the processes that worked on it, and how it stands: plain data."""

from __future__ import annotations

from collections.abc import (
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from datetime import datetime
from typing import Any

__all__ = ["Ending", "ProcessRecord", "Run"]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a scenario; its id is also the id of its root workflow.

    ``target`` says where the scenario is found again, ``parameters`` are JSON values, ``facts`` is
    what the scenario noted of its input when the run began. A fork has the run that it was
    ``forked_from``, and ``fork_step``, the first step of the root workflow that it does itself.
    """

    run_id: str
    scenario: str
    target: str
    parameters: Mapping[str, Any]
    facts: Mapping[str, Any]
    application_version: str
    created_at: datetime | None = None
    forked_from: str | None = None
    fork_step: int | None = None

    @property
    def inherits(self) -> bool:
        """Whether it begins with steps that another run did. They tell of that run: which
        children it had, what it wrote under its own id.
        """
        return self.fork_step is not None and self.fork_step > 1


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A process that worked on a run. ``ended`` is None while it lives, or vanished unseen;
    ``recorded``: it is known which bodies of steps ran in it.
    """

    process_no: int
    pid: int
    executor_id: str
    started_at: datetime
    ended_at: datetime | None
    ended: str | None
    memory: Mapping[str, Any] | None
    recorded: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run stands: the root workflow's status, result or error, and its processes.

    ``status`` is DBOS's own (``SUCCESS``, ``ERROR``, ``PENDING`` …), or ``NOT STARTED``.
    """

    status: str
    result: Any
    error: str | None
    processes: Sequence[ProcessRecord]
