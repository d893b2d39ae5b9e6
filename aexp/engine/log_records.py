"""Read DBOS's log records: whose they are, and a task that is cancelled."""

from __future__ import annotations

import logging
import sys

from structlog.typing import EventDict, WrappedLogger

from aexp.log import adopt_library

__all__ = ["adopt_records", "expect_cancellations"]

# DBOS stamps its records with these (dbos/_logger.py, DBOSLogTransformer).
_STAMPS = {"operationUUID": "workflow_id", "executorID": "executor_id"}


def adopt_records() -> None:
    """Have this process's log tell DBOS's lines, and the workflow and step of every line.

    To be called before the log is configured. DBOS adds a text handler of its own to a logger that
    has none, and stops propagation.
    """
    adopt_library("dbos", context=_add_context, stamps=_rename_stamps)


def _add_context(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    # A process that has not imported DBOS runs no workflow: do not import it to log a line.
    dbos = sys.modules.get("dbos")
    if dbos is None:
        return event
    if (workflow_id := dbos.DBOS.workflow_id) is not None:
        event.setdefault("workflow_id", workflow_id)
    if (step_id := dbos.DBOS.step_id) is not None:
        event.setdefault("step_id", step_id)
    return event


def _rename_stamps(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    for theirs, ours in _STAMPS.items():
        value = getattr(record, theirs, None)
        if value:
            event.setdefault(ours, value)
    return event


class _NoCancellations(logging.Filter):
    """Drops DBOS's warning for each task that is cancelled, while that is what is wanted."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Asyncio task cancelled")


def expect_cancellations() -> None:
    """Expect that workflows and steps are cancelled, which is no news: this process is stopping."""
    logging.getLogger("dbos").addFilter(_NoCancellations())
