"""Read DBOS's log records: whose they are, a step that begins, a task that is cancelled."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable

from structlog.typing import EventDict, WrappedLogger

from aexp.log import adopt_library

__all__ = ["adopt_records", "expect_cancellations", "watch_steps"]

# DBOS stamps its records with these (dbos/_logger.py, DBOSLogTransformer).
_STAMPS = {"operationUUID": "workflow_id", "executorID": "executor_id"}
# What DBOS says of a step's body that begins (dbos 3.4, _core.py).
_STEP_BEGINS = re.compile(r"Running step, id: (?P<step_id>\d+), name: (?P<name>.*)", re.DOTALL)


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


class _StepWatcher(logging.Filter):
    """Calls back for each step that DBOS begins to run, and keeps its record off the log."""

    def __init__(self, on_step: Callable[[int, str], None], level: int) -> None:
        super().__init__()
        self._on_step = on_step
        self._level = level

    def filter(self, record: logging.LogRecord) -> bool:
        found = _STEP_BEGINS.fullmatch(str(record.msg)) if record.levelno == logging.DEBUG else None
        if found is not None:
            self._on_step(int(found["step_id"]), found["name"])
        return record.levelno >= self._level


class _NoCancellations(logging.Filter):
    """Drops DBOS's warning for each task that is cancelled, while that is what is wanted."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Asyncio task cancelled")


def expect_cancellations() -> None:
    """Expect that workflows and steps are cancelled, which is no news: this process is stopping."""
    logging.getLogger("dbos").addFilter(_NoCancellations())


def watch_steps(on_step: Callable[[int, str], None]) -> None:
    """Call ``on_step`` with the step's id and name whenever DBOS begins a step body, before it
    does; thread-safe callbacks only.

    DBOS says so on its logger at DEBUG: the one place where the steps of any workflow can be seen
    from outside without touching DBOS.
    """
    logger = logging.getLogger("dbos")
    logger.addFilter(_StepWatcher(on_step, logger.level))
    logger.setLevel(logging.DEBUG)
