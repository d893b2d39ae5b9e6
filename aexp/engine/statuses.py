"""The states of a workflow, as DBOS writes them down."""

from __future__ import annotations

__all__ = ["UNBEGUN", "UNFINISHED"]

# Of one that nobody has claimed, and of one that has not ended.
UNBEGUN = ("DELAYED", "ENQUEUED")
UNFINISHED = (*UNBEGUN, "PENDING")
