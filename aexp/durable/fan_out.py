"""Run many child workflows on a queue and collect their results in order.

One enqueue and one ``get_result`` a child would cost a transaction and a polling loop each.
Instead children are enqueued many to a transaction and awaited by one query a poll. Every child's
id follows from its parent's and from the step that enqueues it, so a parent that is killed at any
moment finds the same children again: none is lost, none is started twice.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Literal, TypeVar, overload

import anyio.to_thread
from dbos import DBOS, EnqueueOptions

from aexp.database.retry import retry_on_disconnect
from aexp.engine.registry import UNFINISHED, bind, class_name, current_execution, workflow_name
from aexp.engine.runtime import Runtime, current_runtime
from aexp.engine.tables.workflows import HAVE_ENDED
from aexp.engine.tracing import current_context
from aexp.engine.waiting import waiting

__all__ = ["ChildFailed", "fan_out", "parent_of"]

_R = TypeVar("_R")

# The parent's id, the step that enqueued it, and its place among the others.
_CHILD_ID = re.compile(r"(?P<parent>.+)\.\d+\.\d+")

# At most two batches are on their way: while one is awaited, the next keeps the queue full.
_BATCHES_IN_FLIGHT = 2


class ChildFailed(Exception):
    """A child workflow was cancelled or dead-lettered, so it has neither result nor error."""

    def __init__(self, workflow_id: str, status: str) -> None:
        self.workflow_id = workflow_id
        self.status = status
        super().__init__(workflow_id, status)

    def __str__(self) -> str:
        return f"workflow {self.workflow_id} ended as {self.status}"


@overload
async def fan_out(
    workflow: Callable[..., Coroutine[Any, Any, _R]],
    arguments: Iterable[Mapping[str, Any]],
    *,
    queue: str,
    return_exceptions: Literal[False] = False,
    batch: int = 500,
) -> list[_R]: ...


@overload
async def fan_out(
    workflow: Callable[..., Coroutine[Any, Any, _R]],
    arguments: Iterable[Mapping[str, Any]],
    *,
    queue: str,
    return_exceptions: Literal[True],
    batch: int = 500,
) -> list[_R | Exception]: ...


async def fan_out(
    workflow: Callable[..., Coroutine[Any, Any, _R]],
    arguments: Iterable[Mapping[str, Any]],
    *,
    queue: str,
    return_exceptions: bool = False,
    batch: int = 500,
) -> list[_R] | list[_R | Exception]:
    """Run ``workflow(**kwargs)`` as a child on ``queue`` for each of ``arguments``.

    Call it from a workflow, with the same arguments in the same order on each replay; they may
    come from a generator, of which at most two batches are held. Returns the results in the order
    of the arguments. A child that fails raises its error here once all children of its batch
    have ended; with ``return_exceptions`` its error stands in its place, as in asyncio.gather.

    Costs two steps of the parent for each ``batch`` of children. Raises ValueError outside a
    workflow, and when the workflow has another fan_out under way: which of two comes first to its
    next step is not the same on each replay, so let two children do one each.
    """
    workflow_id = DBOS.workflow_id
    if workflow_id is None or DBOS.step_id is not None:
        raise ValueError("fan_out is called from a workflow, and not from inside a step")
    runtime = current_runtime()
    execution = current_execution(workflow_id)
    if execution in runtime.fanning_out:
        raise ValueError(f"workflow {workflow_id} has another fan_out under way: do one at a time")
    runtime.fanning_out.add(execution)
    try:
        return await _fan_out(runtime, workflow, arguments, queue, return_exceptions, batch)
    finally:
        runtime.fanning_out.discard(execution)


async def _fan_out(
    runtime: Runtime,
    workflow: Callable[..., Any],
    arguments: Iterable[Mapping[str, Any]],
    queue: str,
    return_exceptions: bool,  # noqa: FBT001
    batch: int,
) -> list[Any]:
    results: list[Any] = []
    waiting: deque[tuple[str, int]] = deque()
    for chunk in _batches(arguments, batch):
        stem = await DBOS.run_step_async(
            {"name": "fan_out.enqueue"}, _enqueue, runtime, workflow, chunk, queue
        )
        waiting.append((stem, len(chunk)))
        if len(waiting) == _BATCHES_IN_FLIGHT:
            results += await _collect(runtime, *waiting.popleft(), return_exceptions)
    while waiting:
        results += await _collect(runtime, *waiting.popleft(), return_exceptions)
    return results


def _batches(
    arguments: Iterable[Mapping[str, Any]], size: int
) -> Iterator[Sequence[Mapping[str, Any]]]:
    if size < 1:
        raise ValueError("batch must be at least 1")
    iterator = iter(arguments)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _child_ids(stem: str, count: int) -> list[str]:
    return [f"{stem}.{index}" for index in range(count)]


def parent_of(workflow_id: str) -> str | None:
    """Return whose child by :func:`fan_out` a workflow is, by its id; None when it is nobody's.

    DBOS links no parent to a workflow that is enqueued in a transaction of ours.
    """
    found = _CHILD_ID.fullmatch(workflow_id)
    return found["parent"] if found is not None else None


async def _enqueue(
    runtime: Runtime,
    workflow: Callable[..., Any],
    arguments: Sequence[Mapping[str, Any]],
    queue: str,
) -> str:
    """Enqueue one child for each of ``arguments`` in one transaction; the stem of their ids."""
    stem = f"{DBOS.workflow_id}.{DBOS.step_id}"
    common: EnqueueOptions = {
        "workflow_name": workflow_name(workflow),
        "queue_name": runtime.queue_name(queue),
        "app_version": runtime.application_version,
    }
    if (context := current_context()) is not None:
        common["otel_context"] = context
    instance = getattr(workflow, "__self__", None)
    if instance is not None:
        common["class_name"] = class_name(instance)
        common["instance_name"] = instance.config_name

    def enqueue() -> None:
        with runtime.enqueuing.begin() as connection:
            for workflow_id, kwargs in zip(
                _child_ids(stem, len(arguments)), arguments, strict=True
            ):
                positional, named = bind(workflow, kwargs)
                runtime.client.enqueue_in_transaction(
                    connection, {**common, "workflow_id": workflow_id}, *positional, **named
                )

    # Enqueued again, a child is found by its id and not started twice.
    await retry_on_disconnect(lambda: anyio.to_thread.run_sync(enqueue))
    return stem


async def _collect(runtime: Runtime, stem: str, count: int, return_exceptions: bool) -> list[Any]:  # noqa: FBT001
    outcomes = await DBOS.run_step_async(
        {"name": f"fan_out.collect {stem}", "preemptible": True}, _await_all, runtime, stem, count
    )
    if not return_exceptions:
        for error, _ in outcomes:
            if error is not None:
                raise error
    return [error if error is not None else output for error, output in outcomes]


async def _await_all(runtime: Runtime, stem: str, count: int) -> list[tuple[Exception | None, Any]]:
    """Wait until all children of ``stem`` have ended; their errors and outputs, in order."""
    ids = _child_ids(stem, count)
    with waiting("results", ids):
        await runtime.until(partial(_all_ended, runtime, ids))
    ended = await DBOS.list_workflows_async(workflow_ids=ids, load_input=False)
    by_id = {status.workflow_id: status for status in ended}
    outcomes: list[tuple[Exception | None, Any]] = []
    for workflow_id in ids:
        status = by_id[workflow_id]
        # Typed as an exception, but text when it cannot be unpickled.
        error: object = status.error
        if status.status == "SUCCESS":
            outcomes.append((None, status.output))
        elif isinstance(error, Exception):
            outcomes.append((error, None))
        else:
            reason = f"{status.status}: {error}" if error else status.status
            outcomes.append((ChildFailed(workflow_id, reason), None))
    return outcomes


async def _all_ended(runtime: Runtime, ids: Sequence[str]) -> bool:
    ended: bool = await runtime.database.pool.fetchval(HAVE_ENDED, ids, UNFINISHED)
    return ended
