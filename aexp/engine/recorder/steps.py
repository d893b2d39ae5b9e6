"""Note every step that workflows of this process call, and every body that begins and ends.

DBOS calls each step, sync or async, through one function of its own (dbos 3.4, ``_core.py``,
``invoke_step``), with its arguments, before it looks for the checkpoint. A datasource hands it a
body of its own, around the transaction; what the user gave it is noted instead.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from dbos import DBOS, AsyncSQLAlchemyDatasource, SQLAlchemyDatasource, _core
from dbos._context import DBOSContext

from aexp.engine.recorder.arguments import describe_arguments
from aexp.engine.recorder.records import Record, StepBegan, StepCall, StepEnded, format_record
from aexp.engine.recorder.sites import call_site, track_origins
from aexp.engine.registry import workflow_name

__all__ = ["FileWriter", "record_steps"]


# Workflow, number and name.
_Step: TypeAlias = tuple[str, int, str]


class FileWriter:
    """Appends records to a file, each whole or not at all, however this process ends."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def __call__(self, record: Record) -> None:
        """Append ``record``, in one write."""
        os.write(self._descriptor, format_record(record).encode(errors="surrogatepass"))


@dataclass(frozen=True, slots=True)
class _Given:
    """What a datasource was given to run in a transaction."""

    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    # Set by the step that runs it.
    step: list[_Step]


_given: contextvars.ContextVar[_Given | None] = contextvars.ContextVar("given", default=None)
# The workflow that is being started, and its arguments.
_starting: contextvars.ContextVar[tuple[Any, Sequence[Any], Mapping[str, Any]] | None] = (
    contextvars.ContextVar("starting", default=None)
)


def record_steps(write: Callable[[Record], None], *, calls: bool = True) -> None:
    """Hand ``write`` a record of each begin and end of a step in this process from now on, and of
    each of the ``calls``, which cost the most; it is called in whatever thread the step is in. To
    be called in the thread of the loop.
    """
    if calls:
        track_origins()
        _record_children(write)

    def note_call(step: _Step, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        if calls:
            write(_call(step, args, kwargs))

    _record_invocations(write, note_call)
    for datasource, method in (
        (AsyncSQLAlchemyDatasource, "run_tx_step_async"),
        (SQLAlchemyDatasource, "run_tx_step"),
    ):
        _record_transactions(datasource, method, write)


def _record_invocations(
    write: Callable[[Record], None],
    note_call: Callable[[_Step, Sequence[Any], Mapping[str, Any]], None],
) -> None:
    original = _core.invoke_step

    @functools.wraps(original)
    def invoke_step(
        dbos: Any, step_ctx: Any, func: Any, args: Any, kwargs: Any, *, step_name: str, **how: Any
    ) -> Any:
        step = (step_ctx.workflow_id, step_ctx.function_id, step_name)
        given = _given.get()
        if given is not None:
            given.step.append(step)
            note_call(step, given.args, given.kwargs)
        else:
            note_call(step, *_asked(func, args, kwargs))
            func = _noted(func, lambda: step, write)
        return original(dbos, step_ctx, func, args, kwargs, step_name=step_name, **how)

    _core.invoke_step = invoke_step


def _asked(
    func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return the arguments of a step with those that a partial function brings along."""
    while isinstance(func, functools.partial):
        args, kwargs, func = (*func.args, *args), {**func.keywords, **kwargs}, func.func
    return args, kwargs


def _record_transactions(datasource: Any, method: str, write: Callable[[Record], None]) -> None:
    original = getattr(datasource, method)

    def given_for(func: Any, args: Any, kwargs: Any) -> tuple[_Given, Any]:
        given = _Given(args, kwargs, [])
        # Outside a workflow it is no step, and nothing is noted of it.
        return given, _noted(func, lambda: given.step[0] if given.step else None, write)

    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def run_async(self: Any, options: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
            given, noted = given_for(func, args, kwargs)
            with _giving(given):
                return await original(self, options, noted, *args, **kwargs)

        setattr(datasource, method, run_async)
        return

    @functools.wraps(original)
    def run(self: Any, options: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
        given, noted = given_for(func, args, kwargs)
        with _giving(given):
            return original(self, options, noted, *args, **kwargs)

    setattr(datasource, method, run)


@contextmanager
def _giving(given: _Given) -> Iterator[None]:
    token = _given.set(given)
    try:
        yield
    finally:
        _given.reset(token)


def _noted(func: Any, step: Callable[[], _Step | None], write: Callable[[Record], None]) -> Any:
    """Return ``func`` such that each begin and end of it is noted."""
    attempts = 0

    @contextmanager
    def noting() -> Iterator[None]:
        nonlocal attempts
        of = step()
        if of is None:
            yield
            return
        attempts += 1
        workflow_id, step_id, name = of
        place: dict[str, Any] = {"workflow_id": workflow_id, "step_id": step_id}
        write(StepBegan(**place, **_now(), name=name, attempt=attempts))
        # What a step calls in its body is no transaction of its own.
        token = _given.set(None)
        error = None
        try:
            yield
        except BaseException as raised:
            error = f"{type(raised).__name__}: {raised}"[:200]
            raise
        finally:
            _given.reset(token)
            write(StepEnded(**place, **_now(), error=error))

    if inspect.iscoroutinefunction(func):

        @functools.wraps(func)
        async def noted_async(*args: Any, **kwargs: Any) -> Any:
            with noting():
                return await func(*args, **kwargs)

        return noted_async

    @functools.wraps(func)
    def noted(*args: Any, **kwargs: Any) -> Any:
        with noting():
            return func(*args, **kwargs)

    return noted


def _record_children(write: Callable[[Record], None]) -> None:
    """Note what a workflow starts as a call, too: its checkpoint answers with a child.

    A child that is called as a function is not noted.
    """
    original = DBOSContext.create_start_workflow_child

    def create_start_workflow_child(current: DBOSContext | None) -> DBOSContext:
        child = original(current)
        starting = _starting.get()
        if starting is not None and child.has_parent():
            func, args, kwargs = starting
            step = (child.parent_workflow_id, child.parent_workflow_fid, workflow_name(func))
            write(_call(step, args, kwargs))
        return child

    setattr(DBOSContext, original.__name__, staticmethod(create_start_workflow_child))
    for name, before in (
        ("start_workflow", 1),
        ("start_workflow_async", 1),
        ("enqueue_workflow", 2),
        ("enqueue_workflow_async", 2),
    ):
        _note_starting(name, before)


def _note_starting(name: str, before: int) -> None:
    """Have the class method ``name`` of DBOS say what it starts; it takes the workflow as the last
    of the ``before`` arguments that come first.
    """
    original = getattr(DBOS, name).__func__

    def starting(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return (args[before - 1], args[before:], kwargs)

    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def start_async(cls: Any, *args: Any, **kwargs: Any) -> Any:
            token = _starting.set(starting(args, kwargs))
            try:
                return await original(cls, *args, **kwargs)
            finally:
                _starting.reset(token)

        setattr(DBOS, name, classmethod(start_async))
        return

    @functools.wraps(original)
    def start(cls: Any, *args: Any, **kwargs: Any) -> Any:
        token = _starting.set(starting(args, kwargs))
        try:
            return original(cls, *args, **kwargs)
        finally:
            _starting.reset(token)

    setattr(DBOS, name, classmethod(start))


def _call(step: _Step, args: Sequence[Any], kwargs: Mapping[str, Any]) -> StepCall:
    workflow_id, step_id, name = step
    text, digest = describe_arguments(args, kwargs)
    return StepCall(
        workflow_id=workflow_id,
        step_id=step_id,
        name=name,
        arguments=text,
        digest=digest,
        site=call_site(),
        **_now(),
    )


def _now() -> dict[str, Any]:
    return {"pid": os.getpid(), "at": time.monotonic(), "epoch": time.time()}
