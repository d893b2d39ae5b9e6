"""What DBOS knows of itself, and says nowhere in public.

Enqueuing many workflows in one transaction takes their names, telling a workflow from a step takes
the registry, draining takes what is active, and telling two executions of one workflow apart takes
their tokens. All of it is read here and nowhere else; dbos is pinned to 3.4 for it.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from dbos import DBOS, Queue
from dbos._context import DBOSContext, current_owner_xid, get_local_dbos_context
from dbos._core import start_workflow_async
from dbos._dbos import _get_dbos_instance, _get_or_create_dbos_registry
from dbos._queue import _INTERNAL_QUEUE_CONSTRUCTION
from dbos._registrations import (
    DBOSFuncType,
    get_class_info,
    get_dbos_func_name,
    get_func_info,
)

from aexp.engine.statuses import UNFINISHED

__all__ = [
    "UNFINISHED",
    "active_workflows",
    "bind",
    "class_name",
    "configured_instances",
    "current_execution",
    "enqueue",
    "forget_instances",
    "function_of",
    "is_workflow",
    "lacks_class",
    "lacks_instance",
    "make_queue",
    "serves_queue",
    "stop_claiming",
    "workflow_name",
    "workflow_names",
]

# Of the method itself, in whose place another one is while modules are imported.
_QUEUE_OPTIONS = inspect.signature(DBOS.register_queue)


def workflow_name(workflow: Any) -> str:
    """Return the name under which DBOS finds ``workflow`` again."""
    return get_dbos_func_name(workflow)


def class_name(instance: object) -> str:
    """Return the name under which DBOS finds the class of a configured instance again."""
    info = get_class_info(type(instance))
    return info.registered_name if info is not None else type(instance).__qualname__


def bind(workflow: Any, arguments: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Bind ``arguments``, which are named, by position as far as the signature allows.

    DBOS takes a workflow's arguments beside its own, whose names they may share. A variadic
    argument is a sequence or a mapping under its own name; other names go to ``**kwargs``, if there
    is one. Raises TypeError for an argument that is missing or unknown.
    """
    left = dict(arguments)
    positional: list[Any] = []
    named: dict[str, Any] = {}
    parameters = inspect.signature(workflow).parameters
    # After one that is left to its default no other can be given by position, but for *args.
    variadic = any(p.kind is p.VAR_POSITIONAL and left.get(p.name) for p in parameters.values())
    by_position = True
    for name, parameter in parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional += left.pop(name, ())
        elif parameter.kind is parameter.VAR_KEYWORD:
            given = left.pop(name, {})
            named |= given if isinstance(given, Mapping) else {name: given}
            named |= left
            left = {}
        elif name in left and parameter.kind is not parameter.KEYWORD_ONLY and by_position:
            positional.append(left.pop(name))
        elif name in left:
            if parameter.kind is parameter.POSITIONAL_ONLY:
                raise TypeError(f"{name!r} is given, but one before it is not")
            named[name] = left.pop(name)
        elif parameter.default is parameter.empty:
            raise TypeError(f"missing a required argument: {name!r}")
        elif parameter.kind is not parameter.KEYWORD_ONLY and by_position:
            if variadic or _positional_follows(parameters, name, left):
                positional.append(parameter.default)
            else:
                by_position = False
    if left:
        raise TypeError(f"got an unexpected argument: {next(iter(left))!r}")
    return tuple(positional), named


def _positional_follows(
    parameters: Mapping[str, inspect.Parameter], name: str, given: Mapping[str, Any]
) -> bool:
    """Return whether one of those after ``name`` is given that has a position only."""
    following = list(parameters.values())[list(parameters).index(name) + 1 :]
    return any(p.kind is p.POSITIONAL_ONLY and p.name in given for p in following)


async def enqueue(
    queue_name: str, workflow: Any, positional: tuple[Any, ...], named: Mapping[str, Any]
) -> None:
    """Enqueue ``workflow``, sync or async, as ``DBOS.enqueue_workflow_async`` does.

    That one takes a workflow's arguments among its own, whose names they may share.
    """
    context = DBOSContext.create_start_workflow_child(get_local_dbos_context())
    await DBOS._configure_asyncio_thread_pool()  # noqa: SLF001 - see above
    await start_workflow_async(
        _get_dbos_instance(),
        context,
        workflow,
        positional,
        dict(named),
        queue_name=queue_name,
        execute_workflow=False,
    )


def current_execution(workflow_id: str) -> tuple[str, str | None]:
    """Return what tells the execution of a workflow that we are in from any other one of it.

    Work that was handed over may come back to a process that still does it, unawares.
    """
    return workflow_id, current_owner_xid(workflow_id)


def is_workflow(function: Any) -> bool:
    """Return whether ``function`` itself is registered as a workflow; a step is not."""
    name = getattr(function, "dbos_function_name", "")
    registered = _get_or_create_dbos_registry().workflow_info_map.get(name)
    return registered is not None and inspect.unwrap(registered) is inspect.unwrap(function)


def function_of(workflow: Any) -> Any:
    """Return the function that DBOS calls for ``workflow``, with the decorators below DBOS's."""
    return getattr(workflow, "__orig_func", workflow)


def lacks_instance(workflow: Any) -> bool:
    """Return whether ``workflow`` is a method of a configured instance, taken from its class."""
    info = get_func_info(workflow)
    return (
        info is not None
        and info.func_type is DBOSFuncType.Instance
        and not hasattr(workflow, "__self__")
    )


def lacks_class(workflow: Any) -> bool:
    """Return whether ``workflow`` is a method of a class, or of an object, unknown to DBOS."""
    info = get_func_info(workflow)
    if info is None or info.class_info is None:
        return hasattr(workflow, "__self__") or next(
            iter(inspect.signature(workflow).parameters), None
        ) in {"self", "cls"}
    owner = getattr(workflow, "__self__", None)
    return (
        info.func_type is DBOSFuncType.Instance
        and owner is not None
        and not hasattr(owner, "config_name")
    )


def configured_instances(workflow: Any) -> Mapping[str, object]:
    """Return the configured instances of the class whose method ``workflow`` is, by their names."""
    info = get_func_info(workflow)
    if info is None or info.class_info is None:
        return {}
    prefix = f"{info.class_info.registered_name}/"
    known = _get_or_create_dbos_registry().instance_info_map
    return {
        key.removeprefix(prefix): instance
        for key, instance in known.items()
        if key.startswith(prefix)
    }


def forget_instances() -> None:
    """Forget every configured instance, as a process that never made them."""
    _get_or_create_dbos_registry().instance_info_map.clear()


def stop_claiming(dbos: DBOS) -> None:
    """Claim no more work from queues and fire no more schedules, as DBOS.destroy does first."""
    for event in dbos.background_thread_stop_events:
        event.set()


def serves_queue(dbos: DBOS, name: str, application: str | None) -> bool:
    """Return whether this process claims from the registered queue ``name`` of an application."""
    # DBOS lists what is its application's or nobody's, and of these what it was told to listen to.
    listening = dbos._listening_queues  # noqa: SLF001 - see above
    ours = application in {None, dbos._sys_db.app_name}  # noqa: SLF001
    return ours and (listening is None or name in listening)


def make_queue(name: str, options: Mapping[str, Any]) -> Queue:
    """Make DBOS's own object for a queue that is registered only later, when DBOS launches.

    It knows the database by then, and reads there what it is asked for. Raises what
    DBOS.register_queue raises for a name or options that it does not take, and says of which queue.
    """
    call = f"DBOS.register_queue({name!r})"
    for option in options:
        if option not in _QUEUE_OPTIONS.parameters:
            close = difflib.get_close_matches(option, _QUEUE_OPTIONS.parameters, 1, 0.8)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise TypeError(f"{call} got an unexpected keyword argument {option!r}{hint}")
    given = _QUEUE_OPTIONS.bind(name, **options)
    given.apply_defaults()
    limits = {key: value for key, value in given.arguments.items() if key != "on_conflict"}
    try:
        Queue._validate_queue(**limits)  # noqa: SLF001 - see above
    except (AttributeError, TypeError, ValueError) as error:
        raise type(error)(f"{call}: {error}") from error
    return Queue(database_backed_queue=True, token=_INTERNAL_QUEUE_CONSTRUCTION, **limits)


def workflow_names() -> frozenset[str]:
    """Return the names of the workflows that this process knows."""
    return frozenset(_get_or_create_dbos_registry().workflow_info_map)


def active_workflows(dbos: DBOS) -> set[str]:
    """Return the ids of the workflows that run in this process."""
    return set(dbos._active_workflows_set.activeList())  # noqa: SLF001 - see above
