"""Know in which workflows of this process an error was raised that DBOS records nowhere.

A CancelledError, a SystemExit or a KeyboardInterrupt that leaves a step or a body is no Exception:
DBOS 3.4 writes neither a checkpoint nor an end, so that the workflow stays PENDING.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Departure", "find_departures", "note_departure"]


@dataclass(frozen=True, slots=True)
class Departure:
    """The name of the error that has left a workflow, and its step, or None for its body."""

    error: str
    step: str | None = None


# The first of each workflow.
_noted: dict[str, Departure] = {}


def find_departures() -> Mapping[str, Departure]:
    """Return what has left workflows of this process, by their ids."""
    return dict(_noted)


def note_departure(workflow_id: str, departure: Departure) -> None:
    """Note what has left a workflow, unless something has before."""
    _noted.setdefault(workflow_id, departure)
