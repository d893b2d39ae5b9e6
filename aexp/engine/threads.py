"""Run sync workflows in threads of their own.

DBOS runs them in the pool that its async part takes for its database calls. That pool has to be
bounded, since each gathered call would make a thread, and a workflow that waits for a child, a
message or a time keeps its thread: as many waiting workflows as there are threads would wait for
work that no thread is left to do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import Any, ParamSpec, TypeVar

from dbos import _core
from dbos._dbos import _SharedExecutor

from aexp.engine.departures import Departure, note_departure

__all__ = ["run_sync_workflows_apart"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class _WorkflowThreads(ThreadPoolExecutor):
    """Runs each call in a new thread, which keeps no process from its end.

    DBOS shuts it down when it is destroyed, and with it the ``pool`` that it made first. What runs
    by then has lost its database: it can record nothing, and is recovered by the next process.
    """

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        # `submit` is overridden, so that this pool never makes a thread of its own.
        super().__init__(max_workers=1)
        self._pool = pool
        self._numbers = count(1)
        self._closed = False

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        if self._closed:
            raise RuntimeError("cannot start a workflow after DBOS was destroyed")
        future: Future[_T] = Future()
        future.set_running_or_notify_cancel()

        def call() -> None:
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                if not isinstance(error, Exception):
                    # Nobody else says so: it ends this thread, and not the process.
                    _note_departures(error)
                future.set_exception(error)
            else:
                future.set_result(result)

        name = f"dbos-workflow-{next(self._numbers)}"
        threading.Thread(target=call, name=name, daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        self._closed = True
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


def _note_departures(error: BaseException) -> None:
    """Note each workflow that ``error`` has left on its way out of a thread.

    There are several where one calls another directly, or takes the result of one that was left.
    """
    name = type(error).__name__
    found: dict[str, Departure] = {}
    innermost: str | None = None
    trace = error.__traceback__
    while trace is not None:
        frame, trace = trace.tb_frame, trace.tb_next
        if frame.f_globals is not vars(_core):
            continue
        # DBOS's frames around a body and around a step.
        if frame.f_code.co_name == "persist":
            innermost = str(frame.f_locals["status"]["workflow_uuid"])
            found[innermost] = Departure(name)
        elif frame.f_code.co_name == "record_step_result" and innermost is not None:
            found[innermost] = Departure(name, str(frame.f_locals["step_name"]))
    for workflow_id, departure in found.items():
        note_departure(workflow_id, departure)


class _BoundedExecutor(_SharedExecutor):
    """What the loop's ``to_thread`` takes: the bounded pool, though DBOS's executor is another."""

    def __init__(self, executor: ThreadPoolExecutor, pool: ThreadPoolExecutor) -> None:
        super().__init__(executor)
        self._bounded = pool

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        return self._bounded.submit(fn, *args, **kwargs)


def run_sync_workflows_apart(dbos: Any) -> None:
    """Run each sync workflow of ``dbos``, which was just launched, in a thread of its own.

    All else goes on in the bounded pool that it has made.
    """
    pool = dbos._executor  # noqa: SLF001 - there is no other way to give DBOS an executor
    workflows = _WorkflowThreads(pool)
    dbos._executor_field = workflows  # noqa: SLF001
    dbos._shared_executor_field = _BoundedExecutor(workflows, pool)  # noqa: SLF001
