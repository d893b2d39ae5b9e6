"""Note what the workflows of this process wait for, and whether any of them does anything else.

DBOS keeps no such list: a workflow that waits polls, or has an event in its memory. So the few
methods in which it waits are wrapped, each in a note that lasts as long as the wait. They are read
in dbos 3.4; what is not recognised counts as something that goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import math
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextvars import ContextVar
from itertools import count
from pathlib import PurePath
from types import FrameType
from typing import Any, TypeAlias

from anyio import CancelScope
from dbos import DBOS
from dbos._core import (
    WorkflowHandleAsyncPolling,
    WorkflowHandleAsyncTask,
    WorkflowHandleFuture,
    WorkflowHandlePolling,
)
from dbos._sys_db import SystemDatabase, _dbos_null_topic

from aexp.engine.standstill import Wait, WaitKind

__all__ = ["NO_TOPIC", "all_wait", "any_timed", "list_waits", "waiting", "watch_waits"]

# What DBOS calls the topic of a message that has none.
NO_TOPIC = _dbos_null_topic


class _Note:
    """A wait that is under way, and the task or thread that is in it."""

    def __init__(
        self, workflow_id: str, kind: WaitKind, targets: Sequence[str], key: str | None
    ) -> None:
        self.workflow_id, self.kind, self.targets, self.key = workflow_id, kind, targets, key
        self.number = next(_numbers)
        # How long it may last is known only once DBOS has recorded that; until then it goes on.
        self.ends_at = math.inf if kind in {"result", "results"} else -math.inf
        self.task = _current_task()

    def as_wait(self) -> Wait:
        return Wait(self.workflow_id, self.kind, self.targets, self.key, self.ends_at, self.number)


_numbers = count(1)
_notes: dict[int, _Note] = {}
_lock = threading.Lock()
_innermost: ContextVar[_Note | None] = ContextVar("aexp_wait", default=None)


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        # A thread of a workflow that is not async.
        return None


@contextlib.contextmanager
def waiting(kind: WaitKind, targets: Sequence[str] = (), key: str | None = None) -> Iterator[None]:
    """Note that the workflow that we are in waits, for as long as the context lasts."""
    workflow_id = DBOS.workflow_id
    if workflow_id is None:
        yield
        return
    note = _Note(workflow_id, kind, targets, key)
    token = _innermost.set(note)
    with _lock:
        _notes[note.number] = note
    try:
        yield
    finally:
        with _lock:
            del _notes[note.number]
        _innermost.reset(token)


def list_waits() -> list[Wait]:
    """Return what the workflows of this process wait for now."""
    with _lock:
        return [note.as_wait() for note in _notes.values()]


def watch_waits() -> None:
    """Note the waits of every workflow of this process from now on."""
    if getattr(SystemDatabase.recv, "_noted_by_aexp", False):
        return
    for name in ("recv", "recv_async"):
        _wrap(SystemDatabase, name, lambda given: ("message", (), given["topic"] or NO_TOPIC))
    for name in ("get_event", "get_event_async"):
        _wrap(SystemDatabase, name, lambda given: ("event", (given["target_uuid"],), given["key"]))
    for name in ("await_workflow_result", "await_workflow_result_async"):
        _wrap(SystemDatabase, name, lambda given: ("result", (given["workflow_id"],), None))
    for name in ("await_first_workflow_id", "await_first_workflow_id_async"):
        _wrap(SystemDatabase, name, lambda given: ("result", tuple(given["workflow_ids"]), None))
    for handle in (
        WorkflowHandleAsyncPolling,
        WorkflowHandleAsyncTask,
        WorkflowHandleFuture,
        WorkflowHandlePolling,
    ):
        # One that was started here waits for a task or a future, and for no row.
        _wrap(handle, "_get_result", lambda given: ("result", (given["self"].workflow_id,), None))
    _wrap_sleeps()
    _wrap_deadline()


_Describe: TypeAlias = Callable[[Mapping[str, Any]], tuple[WaitKind, Sequence[str], str | None]]


def _wrap(owner: type, name: str, describe: _Describe) -> None:
    """Wrap a method in a note of what ``describe`` makes of its arguments."""
    original = getattr(owner, name)
    signature = inspect.signature(original)

    def note(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return waiting(*describe(signature.bind(*args, **kwargs).arguments))

    wrapper: Any
    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            with note(args, kwargs):
                return await original(*args, **kwargs)
    else:

        @functools.wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with note(args, kwargs):
                return original(*args, **kwargs)

    wrapper._noted_by_aexp = True  # noqa: SLF001
    setattr(owner, name, wrapper)


def _wrap_sleeps() -> None:
    sleep, sleep_async = DBOS.sleep, DBOS.sleep_async

    @functools.wraps(sleep)
    def noted(_cls: type[DBOS], seconds: float) -> None:
        with waiting("sleep"):
            sleep(seconds)

    @functools.wraps(sleep_async)
    async def noted_async(_cls: type[DBOS], seconds: float) -> None:
        with waiting("sleep"):
            await sleep_async(seconds)

    # Of the class, as those that they wrap, which DBOS's metaclass looks up nowhere else.
    DBOS.sleep = classmethod(noted)  # type: ignore[method-assign,assignment]
    DBOS.sleep_async = classmethod(noted_async)  # type: ignore[method-assign,assignment]


def _wrap_deadline() -> None:
    """Take the end of a wait from where DBOS records it: a replay goes on with the first one."""
    record_sleep = SystemDatabase.record_sleep

    @functools.wraps(record_sleep)
    def noted(*args: Any, **kwargs: Any) -> float:
        left_s = record_sleep(*args, **kwargs)
        note = _innermost.get()
        if note is not None:
            note.ends_at = time.time() + left_s
        return left_s

    SystemDatabase.record_sleep = noted  # type: ignore[method-assign]


def all_wait(active: Collection[str], own: Collection[asyncio.Task[Any]]) -> bool:
    """Return whether every workflow that is ``active`` here only waits, as noted.

    To be called on their loop. ``own`` are the tasks that are nobody's workflow. A task that is in
    nothing that we know goes on, and so does a workflow without a wait: its thread computes.
    """
    with _lock:
        notes = list(_notes.values())
    if not set(active) <= {note.workflow_id for note in notes}:
        return False
    in_waits = {note.task for note in notes if note.task is not None}
    others = asyncio.all_tasks() - set(own) - in_waits - {asyncio.current_task()}
    return all(_only_joins(task) for task in others) and not _is_recovering()


def _only_joins(task: asyncio.Task[Any]) -> bool:
    """Return whether ``task`` waits for other tasks, each of which is looked at itself."""
    waiter = getattr(task, "_fut_waiter", None)
    if isinstance(waiter, asyncio.Task):
        return True
    children = getattr(waiter, "_children", None)
    if children is not None:
        return all(child.done() or isinstance(child, asyncio.Task) for child in children)
    frames = {(PurePath(f.f_code.co_filename).name, f.f_code.co_name): f for f in _frames(task)}
    if ("_core.py", "_poll") in frames:
        # DBOS's own, which looks whether somebody cancels a workflow.
        return True
    supervised = frames.get(("_core.py", "_supervise_step"))
    if supervised is not None:
        return supervised.f_locals["timeout_seconds"] is None
    return bool(_TASK_GROUPS & set(list(frames)[-1:]))


# Where the end of a task group waits for its tasks: asyncio's, and anyio's.
_TASK_GROUPS = {("taskgroups.py", "__aexit__"), ("_asyncio.py", "__aexit__")}


def _frames(task: asyncio.Task[Any]) -> Iterator[FrameType]:
    """Yield the frames of what ``task`` is in, the innermost last."""
    coroutine: Any = task.get_coro()
    while inspect.iscoroutine(coroutine):
        if coroutine.cr_frame is not None:
            yield coroutine.cr_frame
        coroutine = coroutine.cr_await


def any_timed(own: Collection[asyncio.Task[Any]]) -> bool:
    """Return whether a timer of asyncio's or anyio's may end a wait of a task but our ``own``.

    Loops do not tell, so that those are looked for that refer to a task: dear, to be asked last.
    """
    tasks = asyncio.all_tasks() - set(own) - {asyncio.current_task()}
    # Never all objects: a tuple that another thread is making must not be held by anybody else.
    return any(map(_is_timer, gc.get_referrers(*tasks)))


def _is_timer(holder: object) -> bool:
    """Return whether ``holder`` is an entered timeout with an end, or the attributes of one."""
    if issubclass(type(holder), CancelScope):
        return getattr(holder, "deadline", math.inf) != math.inf
    fields = holder if type(holder) is dict else getattr(holder, "__dict__", {})
    if type(holder) is not asyncio.Timeout and not fields.keys() >= {"_timeout_handler", "_when"}:
        return False
    # One that has been left keeps its task.
    return fields["_when"] is not None and fields["_state"].value == "active"


def _is_recovering() -> bool:
    """Return whether DBOS still puts what it found at its launch back into queues."""
    for frame in sys._current_frames().values():  # noqa: SLF001
        caller: Any = frame
        while caller is not None:
            if caller.f_code.co_name == "startup_recovery_thread":
                return True
            caller = caller.f_back
    return False
