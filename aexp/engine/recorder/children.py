"""Note what workflows of this process start, as calls: the checkpoint of each answers with a child.

A child that is called as a function is not noted.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from dbos import DBOS
from dbos._context import DBOSContext

from aexp.engine.recorder.replaced import replaced
from aexp.engine.registry import workflow_name

__all__ = ["record_children"]

# The workflow that is being started, and its arguments.
_starting: contextvars.ContextVar[tuple[Any, Sequence[Any], Mapping[str, Any]] | None] = (
    contextvars.ContextVar("starting", default=None)
)


@contextmanager
def record_children(
    note_call: Callable[[tuple[str, int, str], Sequence[Any], Mapping[str, Any]], None],
) -> Iterator[None]:
    """Hand ``note_call`` the workflow, number and name of each step that starts a child in this
    context, and the child's arguments.
    """
    original = DBOSContext.create_start_workflow_child

    def create_start_workflow_child(current: DBOSContext | None) -> DBOSContext:
        child = original(current)
        starting = _starting.get()
        if starting is not None and child.has_parent():
            func, args, kwargs = starting
            step = (child.parent_workflow_id, child.parent_workflow_fid, workflow_name(func))
            note_call(step, args, kwargs)
        return child

    with ExitStack() as undo:
        undo.enter_context(
            replaced(DBOSContext, original.__name__, staticmethod(create_start_workflow_child))
        )
        for name, before in (
            ("start_workflow", 1),
            ("start_workflow_async", 1),
            ("enqueue_workflow", 2),
            ("enqueue_workflow_async", 2),
        ):
            undo.enter_context(replaced(DBOS, name, classmethod(_telling(name, before))))
        yield


def _telling(name: str, before: int) -> Callable[..., Any]:
    """Return the class method ``name`` of DBOS such that it says what it starts; it takes the
    workflow as the last of the ``before`` arguments that come first.
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

        return start_async

    @functools.wraps(original)
    def start(cls: Any, *args: Any, **kwargs: Any) -> Any:
        token = _starting.set(starting(args, kwargs))
        try:
            return original(cls, *args, **kwargs)
        finally:
            _starting.reset(token)

    return start
