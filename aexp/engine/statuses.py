"""The states of a workflow, as DBOS writes them down."""

from __future__ import annotations

__all__ = ["DEAD_LETTERED", "ENDS", "UNBEGUN", "UNFINISHED"]

# Of one that nobody has claimed, and of one that has not ended.
UNBEGUN = ("DELAYED", "ENQUEUED")
UNFINISHED = (*UNBEGUN, "PENDING")
# Of one that has come to an end that it, its caller or its timeout wanted, and of one that DBOS has
# recovered too often, which is no end: nobody goes on with it.
ENDS = ("SUCCESS", "ERROR", "CANCELLED")
DEAD_LETTERED = "MAX_RECOVERY_ATTEMPTS_EXCEEDED"
