"""What DBOS's own tables, the ledger and the recordings say of a run, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aexp.audit.repetitions import RecordedBody

__all__ = ["History"]


@dataclass(frozen=True, slots=True)
class History:
    """The workflows and steps of a run.

    ``workflows`` counts by status, ``steps`` counts checkpoints and ``copied`` those among them
    that a fork began with, ``steps_ran`` says that bodies of steps were recorded, and ``ran_again``
    are those of steps whose body began in more than one call. ``unrecorded`` are the pids of
    processes of which no recording was read. ``unfinished`` and ``repeated`` are samples of rows:
    workflows without an end, and step bodies that the ledger saw begin although their step had a
    durable checkpoint. ``timeout_s`` is the root's, when it was cancelled at its end.
    """

    root_status: str
    error: str | None
    workflows: Mapping[str, int]
    steps: int
    steps_ran: bool
    copied: int = 0
    timeout_s: float | None = None
    unfinished: Sequence[Mapping[str, Any]] = ()
    repeated: Sequence[Mapping[str, Any]] = ()
    ran_again: Sequence[RecordedBody] = ()
    unrecorded: Sequence[int] = ()
