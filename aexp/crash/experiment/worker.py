"""One life of a worker: what a forked process does on a run, under the eyes of an explorer."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from aexp.crash.experiment.outside import Enclosure, enclose
from aexp.database import DatabaseUrl
from aexp.durable.effect import report_effects
from aexp.engine.late_imports import import_late
from aexp.engine.log_records import adopt_records
from aexp.engine.recorder.declared import effect_reporter
from aexp.engine.recorder.effects import own_addresses, record_effects
from aexp.engine.recorder.files import FileWriter
from aexp.engine.recorder.sites import is_own_code
from aexp.engine.recorder.steps import record_steps
from aexp.engine.registry import forget_instances
from aexp.engine.world.clock import clock_ahead
from aexp.engine.world.entering import LoopFactory, WorldPlan, entered, loop_factory
from aexp.errors import (
    Interrupted,
    InvalidTarget,
    ProcessEnded,
    Standstill,
    first_of_ours,
    sole_error,
)
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


def warm(target: str | None = None) -> None:
    """Import what every life needs.

    A scenario that comes with aexp as well; a user's module not: it may read the environment, open
    files or start threads when it is imported, and that belongs to each life.
    """
    import_late()
    # Others import it when they come to a file.
    importlib.import_module("aexp.scenarios.target")
    if target is not None and known().get(target, "").startswith("aexp."):
        find_scenario(target)


def live(job: Mapping[str, Any]) -> int:
    """Work on the run of ``job`` to its end; the exit code, 0 when all of it has ended."""
    tempfile.tempdir = None
    if job["import_path"] is not None:
        sys.path[:] = job["import_path"]
        os.chdir(job["working_folder"])
    if job["ahead_s"]:
        with clock_ahead(job["ahead_s"]):
            return _live(job)
    if job["world"] is None:
        return _live(job)
    world = WorldPlan(**job["world"])
    with entered(world) as when_imported:
        return _live(job, loop_factory(world), when_imported)


def _live(
    job: Mapping[str, Any],
    factory: LoopFactory | None = None,
    when_imported: Callable[[], None] | None = None,
) -> int:
    deadline = time.time() + job["deadline_s"]
    settings = load_settings({**job["settings"], "database_url": job["url"]})
    adopt_records()
    configure_logging(settings.log_format, settings.log_level)
    try:
        run = Run(**job["run"])
        if job["enclosure"] is not None:
            enclose(Enclosure(**job["enclosure"]))
        _, scenario = find_scenario(run.target)
        if when_imported is not None:
            when_imported()
        if job["apart_from"] is not None:
            _check_apart(Path(job["root"]), Path(job["apart_from"]))
        configure_logging(settings.log_format, settings.log_level)
        # Of all workers of the experiment: a stopped one lives on beside the next.
        write = FileWriter(job["bodies"], shared=True)
        report_effects(effect_reporter(write))
        urls = map(DatabaseUrl.parse, [job["url"], *job["databases"]])
        record_effects(write, own=[address for url in urls for address in own_addresses(url)])
        if job["instances"] is False:
            forget_instances()
        work = partial(_work, run, scenario, settings, job["url"], deadline)
        with record_steps(write):
            return run_on_loop(settings.loop, work, factory=factory)
    except (Exception, SystemExit) as error:
        cause = first_of_ours(error)
        if isinstance(error, SystemExit):
            cause = ProcessEnded(error.code)
        if cause is None or settings.debug:
            traceback.print_exception(error)
        sole = sole_error(error)
        told = cause if cause is not None else f"{type(sole).__name__}: {sole}"
        sys.stderr.write(f"aexp: error: {told}\n")
        if isinstance(cause, Standstill):
            return Standstill.worker_code
        return cause.exit_code if cause is not None else 1


def _check_apart(root: Path, other: Path) -> None:
    """Raise where a module of the user's was imported from the ``other`` code, which may lie in
    the folder of this code, ``root``, or around it.
    """
    inner = root.is_relative_to(other)
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is None or not is_own_code(file) or not Path(file).is_relative_to(other):
            continue
        if not (inner and Path(file).is_relative_to(root)):
            raise InvalidTarget(
                f"{name} was imported from {file}, which is the other code: it is found there"
                " whichever folder is chosen; name the target by its file, and do not install it"
            )


async def _work(run: Run, scenario: Any, settings: Any, url: str, deadline: float) -> int:
    async with (
        stop_on_signals(partial(os._exit, Interrupted.exit_code)) as stop,
        anyio.create_task_group() as group,
    ):
        group.start_soon(await_supervisor_gone, stop, settings.drain_timeout_s)
        outcome = await execute(
            run,
            scenario,
            settings,
            DatabaseUrl.parse(url),
            Progress(),
            stop,
            deadline=deadline,
            recorded=False,
        )
        group.cancel_scope.cancel()
    return 0 if outcome == "completed" else Interrupted.exit_code
