"""The states of a workflow, as DBOS writes them down."""

from __future__ import annotations

__all__ = ["UNFINISHED"]

# Of one that has not ended.
UNFINISHED = ("DELAYED", "ENQUEUED", "PENDING")
