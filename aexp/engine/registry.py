"""What DBOS knows of itself, and says nowhere in public.

Enqueuing many workflows in one transaction takes their names, telling a workflow from a step takes
the registry, draining takes what is active, and telling two executions of one workflow apart takes
their tokens. All of it is read here and nowhere else; dbos is pinned to 3.4 for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from dbos import DBOS
from dbos._context import current_owner_xid
from dbos._dbos import _get_or_create_dbos_registry
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
    "current_execution",
    "forget_instances",
    "is_workflow",
    "lacks_instance",
    "serves_queue",
    "stop_claiming",
    "workflow_name",
    "workflow_names",
]


def workflow_name(workflow: Any) -> str:
    """Return the name under which DBOS finds ``workflow`` again."""
    return get_dbos_func_name(workflow)


def class_name(instance: object) -> str:
    """Return the name under which DBOS finds the class of a configured instance again."""
    info = get_class_info(type(instance))
    return info.registered_name if info is not None else type(instance).__qualname__


def bind(workflow: Any, arguments: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Bind ``arguments`` by position as far as the signature allows.

    DBOS takes a workflow's arguments beside its own, whose names they may share.
    """
    bound = inspect.signature(workflow).bind(**arguments)
    return bound.args, bound.kwargs


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


def lacks_instance(workflow: Any) -> bool:
    """Return whether ``workflow`` is a method of a configured instance, taken from its class."""
    info = get_func_info(workflow)
    return (
        info is not None
        and info.func_type is DBOSFuncType.Instance
        and not hasattr(workflow, "__self__")
    )


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


def workflow_names() -> frozenset[str]:
    """Return the names of the workflows that this process knows."""
    return frozenset(_get_or_create_dbos_registry().workflow_info_map)


def active_workflows(dbos: DBOS) -> set[str]:
    """Return the ids of the workflows that run in this process."""
    return set(dbos._active_workflows_set.activeList())  # noqa: SLF001 - see above
