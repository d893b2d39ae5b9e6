"""Say what DBOS refuses without a word, or in words that do not say where.

What is raised in a workflow is recorded by DBOS as its error, so it is explained where it is
raised: from a record nobody can tell a refusal of DBOS's from an ``assert`` of the author's own.
"""

from __future__ import annotations

import functools
import pickle
import re
import sys
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from dbos import _core
from dbos._context import DBOSContext, TracedAttributes
from sqlalchemy.exc import DBAPIError

__all__ = ["error_text", "explain_old_code", "explain_refusals"]

# What older releases of DBOS had, and what took its place in 3.x.
_INSTEAD: Mapping[str, str] = {
    "transaction": "a SQLAlchemyDatasource, whose run_tx_step commits with the step's record",
    "scheduled": "DBOS.create_schedule or DBOS.apply_schedules after the launch",
    "sql_session": "a SQLAlchemyDatasource and its sql_session()",
    "asql_session": "an AsyncSQLAlchemyDatasource and its sql_session()",
    "communicator": "@DBOS.step()",
    "span": "DBOS.tracer",
    "request": "the request of your web framework",
    "fastapi": "nothing: DBOS(config=…) beside the FastAPI application",
    "flask": "nothing: DBOS(config=…) beside the Flask application",
    "class_instance": "DBOSConfiguredInstance",
    "execute_workflow_id": "DBOS.resume_workflow",
    "recover_pending_workflows": "DBOS.launch, which recovers",
    "restart_workflow": "DBOS.fork_workflow",
    "get_event_status": "DBOS.get_event",
    "SetWorkflowUUID": "SetWorkflowID",
    "load_config": "a DBOSConfig in code",
    "ConfigFile": "DBOSConfig",
    "database_url": "system_database_url",
    "application_database_url": "system_database_url, and a SQLAlchemyDatasource for your tables",
    "partition_queue": "a limit of each partition, such as partition_concurrency",
    "Queue": "DBOS.register_queue(NAME, …) after the launch, and DBOS.enqueue_workflow(NAME, …)",
}
_OLD = (
    re.compile(r"type object 'DBOS' has no attribute '(?P<name>\w+)'"),
    re.compile(r"'DBOS' object has no attribute '(?P<name>\w+)'"),
    re.compile(r"DBOS\.__(?:new|init)__\(\) got an unexpected keyword argument '(?P<name>\w+)'"),
    re.compile(r"cannot import name '(?P<name>\w+)' from 'dbos(?:\.\w+)*'"),
    re.compile(
        r"register_queue\(.*\) got an unexpected keyword argument '(?P<name>partition_queue)'"
    ),
    re.compile(r"(?P<name>Queue) objects cannot be constructed directly"),
    re.compile(r"DBOSConfig sets (?P<name>\w+), which was removed"),
)
_RETURNED = {
    "async_generator": "is an async generator",
    "generator": "is a generator",
}


def explain_old_code(error: BaseException) -> str | None:
    """Return what to use with this DBOS, for an error of code that is written for an older one."""
    if not isinstance(error, AttributeError | ImportError | TypeError) and not type(
        error
    ).__module__.startswith("dbos"):
        return None
    found = next(filter(None, (old.search(str(error)) for old in _OLD)), None)
    if found is None:
        return None
    instead = _INSTEAD.get(found["name"])
    advice = f", where it is {instead}" if instead is not None else ""
    return f"this code is for an older DBOS than 3.4{advice}"


def explain_refusals() -> None:
    """Have DBOS say, in this process, what it refuses and where."""
    names = ("serialize_value", "serialize_value_as")
    if any(hasattr(getattr(_core, name), "__wrapped__") for name in names):
        return
    for name in names:
        setattr(_core, name, _explaining(getattr(_core, name)))
    create_child = DBOSContext.create_start_workflow_child
    start_step = DBOSContext.start_step
    steps: WeakKeyDictionary[DBOSContext, str] = WeakKeyDictionary()

    @functools.wraps(start_step)
    def start(context: DBOSContext, step_id: int, attributes: TracedAttributes) -> None:
        steps[context] = attributes["name"]
        start_step(context, step_id, attributes)

    @functools.wraps(create_child)
    def create(context: DBOSContext | None) -> DBOSContext:
        if context is not None and context.is_within_workflow() and not context.is_workflow():
            # The kind of error that DBOS raises without a word.
            raise AssertionError(
                f"a workflow was started inside step {steps.get(context, '')!r}: a step cannot"
                " start one; start it in the workflow that calls the step"
            )
        return create_child(context)

    for name, method in (
        ("create_start_workflow_child", staticmethod(create)),
        ("start_step", start),
    ):
        setattr(DBOSContext, name, method)


def _explaining(serialize: Any) -> Any:
    """Return ``serialize`` with an error that says who returned what it cannot serialize."""

    @functools.wraps(serialize)
    def explained(value: Any, *others: Any) -> Any:
        try:
            return serialize(value, *others)
        except (TypeError, AttributeError, RecursionError, pickle.PicklingError) as error:
            whose = _whose(sys._getframe(1))  # noqa: SLF001 - the one that knows the step's name
            if whose is None:
                raise
            raise TypeError(_reason(whose, value, error)) from error

    return explained


def _whose(caller: Any) -> str | None:
    """Return who returned what ``caller``, a frame of DBOS's, serializes."""
    name = caller.f_code.co_name
    if name == "record_step_result":
        return f"step {caller.f_locals['step_name']}"
    if name == "persist":
        return f"workflow {caller.f_locals['status']['name']}"
    return None


def _reason(whose: str, value: Any, error: Exception) -> str:
    kind = type(value).__name__
    if kind in _RETURNED:
        return f"{whose} {_RETURNED[kind]}, whose values no checkpoint can hold: return a list"
    if kind == "coroutine":
        value.close()
        return (
            f"{whose} returned a coroutine that nobody awaited: a decorator around it is no"
            " `async def`, so that DBOS takes it for sync"
        )
    return f"{whose} returned {kind}, which no checkpoint can hold: {error}"


def error_text(error: BaseException) -> str:
    """Return ``error`` as it is told: its type, what it says, and what to do about code that is
    written for an older DBOS. Of a statement that failed only what the server said.
    """
    said = getattr(error, "orig", None) if isinstance(error, DBAPIError) else None
    text = f"{type(error).__name__}: {error if said is None else ' '.join(str(said).split())}"
    advice = explain_old_code(error)
    return text if advice is None else f"{text.rstrip('.')} ({advice})"
