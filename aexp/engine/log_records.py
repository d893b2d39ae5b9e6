"""Read DBOS's log records: whose they are, and a task that is cancelled."""

from __future__ import annotations

import logging
import sys

from structlog.typing import EventDict, WrappedLogger

from aexp.engine.departures import Departure, note_departure
from aexp.log import adopt_library

__all__ = [
    "adopt_records",
    "expect_aborts",
    "expect_cancellations",
    "watch_cancellations",
]

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


# What DBOS says when a CancelledError leaves a step or a workflow (dbos 3.4, _outcome.py), and when
# another error leaves a workflow that it has started (_core.py).
_CANCELLED = "Asyncio task cancelled"
_FAILED = "Exception encountered in"


class _Without(logging.Filter):
    """Drops what DBOS says in one of these words, while that is what is wanted."""

    def __init__(self, *words: str) -> None:
        super().__init__()
        self._words = words

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(self._words)


_LIBRARIES = ("dbos", "asyncio", "concurrent", "anyio")
_RECORDER = "aexp.engine.recorder."


class _CancellationWatcher(logging.Filter):
    """Notes which step, or None for its body, a CancelledError has left first in a workflow."""

    def filter(self, record: logging.LogRecord) -> bool:
        dbos = sys.modules["dbos"].DBOS
        if str(record.msg).startswith(_CANCELLED) and (workflow_id := dbos.workflow_id) is not None:
            in_step = dbos.step_id is not None
            step = _left_by(sys.exc_info()[1]) if in_step else None
            note_departure(workflow_id, Departure("CancelledError", step))
        return True


def _left_by(error: BaseException | None) -> str | None:
    """Return the name of the outermost function of a user's that ``error`` has left."""
    trace = error.__traceback__ if error is not None else None
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] not in _LIBRARIES and not module.startswith(_RECORDER):
            return trace.tb_frame.f_code.co_name
        trace = trace.tb_next
    return None


def watch_cancellations() -> None:
    """Note from now on what is left by a CancelledError, see aexp.engine.departures."""
    logger = logging.getLogger("dbos")
    if not any(isinstance(known, _CancellationWatcher) for known in logger.filters):
        logger.addFilter(_CancellationWatcher())


def expect_cancellations() -> None:
    """Expect that workflows and steps are cancelled, which is no news: this process is stopping."""
    logging.getLogger("dbos").addFilter(_Without(_CANCELLED))


def expect_aborts() -> None:
    """Expect that workflows end in whatever error, as DBOS is taken from under them."""
    logging.getLogger("dbos").addFilter(_Without(_CANCELLED, _FAILED))
