"""Note every step that workflows of this process call, and every body that begins and ends.

DBOS calls each step, sync or async, through one function of its own (dbos 3.4, ``_core.py``,
``invoke_step``), with its arguments, before it looks for the checkpoint; it returns when that is
durable. A datasource hands it a body of its own, around the transaction; what the user gave it is
noted instead.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import os
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from dbos import AsyncSQLAlchemyDatasource, SQLAlchemyDatasource, _core

from aexp.engine.recorder.arguments import describe_arguments, show_arguments
from aexp.engine.recorder.children import record_children
from aexp.engine.recorder.records import Record, StepBegan, StepCall, StepEnded, StepRecorded
from aexp.engine.recorder.replaced import replaced
from aexp.engine.recorder.sites import call_site, tracking_origins
from aexp.log import mask

__all__ = ["record_steps"]


# Workflow, number and name.
_Step: TypeAlias = tuple[str, int, str]
_Write: TypeAlias = Callable[[Record], None]
_NoteCall: TypeAlias = Callable[[_Step, Sequence[Any], Mapping[str, Any]], None]


@dataclass(slots=True)
class _Call:
    """A step that is called: what its body is asked, and how often that has begun.

    A datasource knows no ``step`` of what it is given; the step that runs it sets it.
    """

    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    step: _Step | None = None
    site: str | None = None
    transactional: bool = False
    attempts: int = 0


# What a datasource was given to run in a transaction.
_given: contextvars.ContextVar[_Call | None] = contextvars.ContextVar("given", default=None)


@contextmanager
def record_steps(write: _Write, *, calls: bool = True) -> Iterator[None]:
    """Hand ``write`` a record of each begin and end of a step's body in this process and context,
    and of each of the ``calls``, which cost the most; it is called in whatever thread the step is
    in. To be entered in the thread of the loop.
    """

    def note_call(step: _Step, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        if calls:
            write(_call(step, args, kwargs))

    with ExitStack() as undo:
        if calls:
            # Each coroutine of the process costs more by it.
            undo.enter_context(tracking_origins())
            undo.enter_context(record_children(note_call))
        undo.enter_context(replaced(_core, "invoke_step", _noting_step(write, note_call)))
        for datasource, method in (
            (AsyncSQLAlchemyDatasource, "run_tx_step_async"),
            (SQLAlchemyDatasource, "run_tx_step"),
        ):
            undo.enter_context(
                replaced(datasource, method, _noting_transaction(datasource, method, write))
            )
        yield


def _noting_step(write: _Write, note_call: _NoteCall) -> Callable[..., Any]:
    """Return DBOS's function that runs a step, such that what it runs is noted."""
    original = _core.invoke_step

    @functools.wraps(original)
    def invoke_step(
        dbos: Any, step_ctx: Any, func: Any, args: Any, kwargs: Any, *, step_name: str, **how: Any
    ) -> Any:
        call = _given.get()
        if call is None:
            call = _Call(*_asked(func, args, kwargs))
            func = _noted(func, call, write)
        call.step = (step_ctx.workflow_id, step_ctx.function_id, step_name)
        # Here the code that calls is a few frames away, in the body many.
        call.site = call_site()
        note_call(call.step, call.args, call.kwargs)
        outcome = original(dbos, step_ctx, func, args, kwargs, step_name=step_name, **how)
        if inspect.iscoroutine(outcome):
            return _noting_return(outcome, call, write)
        _note_recorded(call, write)
        return outcome

    return invoke_step


async def _noting_return(outcome: Coroutine[Any, Any, Any], call: _Call, write: _Write) -> Any:
    value = await outcome
    _note_recorded(call, write)
    return value


def _note_recorded(call: _Call, write: _Write) -> None:
    # Where no body began, the checkpoint was there already.
    if call.attempts and call.step is not None:
        workflow_id, step_id, _ = call.step
        write(StepRecorded(workflow_id=workflow_id, step_id=step_id, **_now()))


def _asked(
    func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return the arguments of a step with those that a partial function brings along."""
    while isinstance(func, functools.partial):
        args, kwargs, func = (*func.args, *args), {**func.keywords, **kwargs}, func.func
    return args, kwargs


def _noting_transaction(datasource: Any, method: str, write: _Write) -> Callable[..., Any]:
    """Return the method of a datasource that runs a transaction, such that its body is noted.

    Outside a workflow it is no step, and nothing is noted of it.
    """
    original = getattr(datasource, method)

    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def run_async(self: Any, options: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
            call = _Call(args, kwargs, transactional=True)
            with _giving(call):
                return await original(self, options, _noted(func, call, write), *args, **kwargs)

        return run_async

    @functools.wraps(original)
    def run(self: Any, options: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
        call = _Call(args, kwargs, transactional=True)
        with _giving(call):
            return original(self, options, _noted(func, call, write), *args, **kwargs)

    return run


@contextmanager
def _giving(call: _Call) -> Iterator[None]:
    token = _given.set(call)
    try:
        yield
    finally:
        _given.reset(token)


def _noted(func: Any, call: _Call, write: _Write) -> Any:
    """Return ``func`` such that each begin and end of it is noted."""
    if inspect.iscoroutinefunction(func):

        async def noted_async(*args: Any, **kwargs: Any) -> Any:
            with _Noting(call, write):
                return await func(*args, **kwargs)

        return _named_as(func, noted_async)

    def noted(*args: Any, **kwargs: Any) -> Any:
        with _Noting(call, write):
            return func(*args, **kwargs)

    return _named_as(func, noted)


def _named_as(func: Any, noted: Any) -> Any:
    # A datasource calls the step by it. All that functools.wraps does would cost as much as the
    # rest of what is noted.
    noted.__qualname__ = getattr(func, "__qualname__", noted.__qualname__)
    return noted


class _Noting:
    """Notes the begin and the end of a body. Written for speed: one is made for each body."""

    __slots__ = ("_call", "_step", "_token", "_write")

    def __init__(self, call: _Call, write: _Write) -> None:
        self._call = call
        self._step = call.step
        self._write = write

    def __enter__(self) -> None:
        if self._step is not None:
            self._call.attempts += 1
            self._write(_began(self._call, self._step))
            # What a step calls in its body is no transaction of its own.
            self._token = _given.set(None)

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if self._step is not None:
            _given.reset(self._token)
            workflow_id, step_id, _ = self._step
            told = f"{type(error).__name__}: {error}"[:200] if error is not None else None
            self._write(StepEnded(workflow_id=workflow_id, step_id=step_id, error=told, **_now()))


def _began(call: _Call, step: _Step) -> StepBegan:
    workflow_id, step_id, name = step
    return StepBegan(
        workflow_id=workflow_id,
        step_id=step_id,
        name=name,
        attempt=call.attempts,
        transactional=call.transactional,
        arguments=mask(show_arguments(call.args, call.kwargs)),
        site=call.site,
        **_now(),
    )


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
