"""Imported at the start of every Python process whose PYTHONPATH has this folder.

When the environment names a file, each call that blocks the thread of a running event loop is noted
there with the frames that led to it, and then goes on as if nobody had seen it.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from blockbuster import BlockBuster
from blockbuster.blockbuster import BlockBusterFunction

FRAMES = 12

# Where blocking is meant: the end of the file's name → functions, None for all of them.
ALLOWED: dict[str, set[str] | None] = {
    # Importing reads files, wherever a module happens to be needed first.
    "<frozen importlib._bootstrap>": None,
    # A line goes to stderr, and a traceback is made from source files.
    "logging/__init__.py": {"emit"},
    # Before it connects, it looks whether there is a password file.
    "asyncpg/connect_utils.py": {"_parse_connect_arguments"},
    # A loop reads from the socket that wakes it, which never blocks.
    "asyncio/selector_events.py": {"_read_from_self"},
    # Finds the scenario before anything else runs on the loop.
    "aexp/cli/actions/run.py": {"load_run"},
    # Short lines into pipes and a terminal that somebody reads all the time.
    "aexp/processes/supervised.py": {"report_progress"},
    "aexp/runs/run_processes.py": {"_relay_stderr"},
    # What a step's body is about to do must be noted before it does it: into the cache of the
    # system, without a flush.
    "aexp/engine/recorder/files.py": {"_write"},
    # DBOS is made and launched on the loop, before any workflow runs there.
    "dbos/_dbos.py": {"__init__", "_launch"},
}


def _is_allowed(function: BlockBusterFunction, frame: FrameType | None) -> bool:
    while frame is not None:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        known = [*function.can_block_functions, *ALLOWED.items()]
        if any(file.endswith(end) and (names is None or name in names) for end, names in known):
            return True
        frame = frame.f_back
    return False


def _noting(path: Path, function: BlockBusterFunction) -> Callable[..., bool]:
    harmless = function.can_block_predicate

    def note(*args: Any, **kwargs: Any) -> bool:
        if not harmless(*args, **kwargs) and not _is_allowed(function, sys._getframe()):
            frames = reversed(traceback.extract_stack(limit=FRAMES)[:-2])
            where = " < ".join(f"{Path(at.filename).name}:{at.lineno} {at.name}" for at in frames)
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{function.full_name}: {where}\n")
        return True

    return note


def _watch(path: Path) -> None:
    for name, function in BlockBuster().functions.items():
        # Libraries take locks that nobody else holds, at every turn.
        if name != "threading.Lock.acquire":
            function.can_block_predicate = _noting(path, function)
            function.activate()


if "AEXP_TEST_BLOCKING_CALLS" in os.environ:
    _watch(Path(os.environ["AEXP_TEST_BLOCKING_CALLS"]))
