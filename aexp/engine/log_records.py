"""Read DBOS's log records: a step that begins, a task that is cancelled."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

__all__ = ["expect_cancellations", "watch_steps"]

# What DBOS says of a step's body that begins (dbos 3.4, _core.py).
_STEP_BEGINS = re.compile(r"Running step, id: (?P<step_id>\d+), name: (?P<name>.*)", re.DOTALL)


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
