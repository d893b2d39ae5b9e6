"""One life of a worker: what a forked process does on a run, under the eyes of an explorer."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from functools import partial
from typing import Any

import anyio
from dbos import DBOS

from aexp.database import DatabaseUrl
from aexp.engine.log_records import adopt_records, watch_steps
from aexp.engine.registry import forget_instances
from aexp.errors import Interrupted, first_of_ours
from aexp.log import configure_logging
from aexp.model.run import Run
from aexp.processes.loop import run_on_loop
from aexp.processes.progress import Progress
from aexp.processes.signals import stop_on_signals
from aexp.processes.supervised import await_supervisor_gone
from aexp.runs.execution import execute
from aexp.scenarios import find_scenario
from aexp.scenarios import known_scenarios as known
from aexp.settings import load_settings

__all__ = ["live", "warm"]


def warm(target: str) -> None:
    """Import what every life needs.

    A scenario that comes with aexp as well; a user's module not: it may read the environment, open
    files or start threads when it is imported, and that belongs to each life.
    """
    if known().get(target, "").startswith("aexp."):
        find_scenario(target)


def live(job: Mapping[str, Any]) -> int:
    """Work on the run of ``job`` to its end; the exit code, 0 when all of it has ended."""
    tempfile.tempdir = None
    settings = load_settings({**job["settings"], "database_url": job["url"]})
    adopt_records()
    configure_logging(settings.log_format, settings.log_level)
    try:
        run = Run(**job["run"])
        _, scenario = find_scenario(run.target)
        configure_logging(settings.log_format, settings.log_level)
        _record_bodies(job["bodies"])
        if job["instances"] is False:
            forget_instances()
        return run_on_loop(settings.loop, partial(_work, run, scenario, settings, job["url"]))
    except (Exception, SystemExit) as error:
        cause = first_of_ours(error)
        if cause is None or settings.debug:
            traceback.print_exception(error)
        told = cause if cause is not None else f"{type(error).__name__}: {error}"
        sys.stderr.write(f"aexp: error: {told}\n")
        return cause.exit_code if cause is not None else 1


async def _work(run: Run, scenario: Any, settings: Any, url: str) -> int:
    async with (
        stop_on_signals(partial(os._exit, Interrupted.exit_code)) as stop,
        anyio.create_task_group() as group,
    ):
        group.start_soon(await_supervisor_gone, stop, settings.drain_timeout_s)
        outcome = await execute(run, scenario, settings, DatabaseUrl.parse(url), Progress(), stop)
        group.cancel_scope.cancel()
    return 0 if outcome == "completed" else Interrupted.exit_code


def _record_bodies(path: str) -> None:
    """Write a line to ``path`` whenever DBOS begins a step's body, before it does."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def record(step_id: int, name: str) -> None:
        body = {
            "workflow_id": DBOS.workflow_id,
            "step_id": step_id,
            "name": name,
            "pid": os.getpid(),
            "at": time.monotonic(),
        }
        # One write, so that it is there whole or not at all however this process ends.
        os.write(descriptor, json.dumps(body).encode() + b"\n")

    watch_steps(record)
