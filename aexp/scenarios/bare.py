"""Make a scenario from nothing but a DBOS workflow."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from typing import Any

from aexp.engine.registry import (
    configured_instances,
    function_of,
    is_workflow,
    lacks_class,
    lacks_instance,
    workflow_name,
)
from aexp.errors import InvalidTarget
from aexp.model.scenario import Scenario
from aexp.scenarios.arguments import arguments_model, given_arguments

__all__ = ["bare_scenario"]


def bare_scenario(name: str, workflow: Any) -> Scenario[Any]:
    """Make a scenario from nothing but a DBOS workflow; its parameters are its arguments.

    Of a method of a configured instance the class will do, if it has one instance. Raises
    InvalidTarget when ``workflow`` is no workflow.
    """
    _check(name, workflow)
    if lacks_instance(workflow):
        workflow = _on_its_instance(name, workflow)
    summary = (inspect.getdoc(workflow) or "").partition("\n")[0]
    return Scenario(
        name=name,
        summary=summary or f"The workflow {workflow_name(workflow)}.",
        workflow=workflow,
        parameters=arguments_model(name, workflow),
        # Its arguments have the types that its author gave them.
        arguments=given_arguments,
        listens_to_all_queues=True,
    )


def _check(name: str, workflow: Any) -> None:
    """Raise InvalidTarget unless ``workflow`` is a workflow that DBOS can run."""
    if isinstance(workflow, functools.partial | functools.partialmethod):
        wrapped = getattr(workflow.func, "__qualname__", repr(workflow.func))
        raise InvalidTarget(
            f"{name} is a functools.partial, which DBOS cannot find again: name {wrapped} itself"
            " and give its arguments by --set"
        )
    if not callable(workflow) or isinstance(workflow, type):
        raise InvalidTarget(
            f"{name} is {type(workflow).__name__}: name an aexp Scenario or a function decorated"
            " with @DBOS.workflow()"
        )
    if not is_workflow(workflow):
        raise InvalidTarget(f"{name} is no DBOS workflow: decorate it with @DBOS.workflow()")
    function = function_of(workflow)
    for is_one, word in (
        (inspect.isasyncgenfunction, "an async generator"),
        (inspect.isgeneratorfunction, "a generator"),
    ):
        if is_one(function):
            raise InvalidTarget(
                f"{name} is {word}, whose values no checkpoint can hold: return one value, and"
                " write what comes before it to a stream (DBOS.write_stream)"
            )
    if lacks_class(workflow):
        raise InvalidTarget(
            f"{name} is a method of a class that DBOS does not know: decorate the class with"
            " @DBOS.dbos_class(), and derive it from DBOSConfiguredInstance if it has instances"
        )


def _on_its_instance(name: str, workflow: Any) -> Any:
    """Return the method on the one instance that there is. Raises InvalidTarget otherwise."""
    instances = configured_instances(workflow)
    if len(instances) == 1:
        (instance,) = instances.values()
        return workflow.__get__(instance)
    raise InvalidTarget(
        f"{name} is a method without its instance: name it on a configured one,"
        f" FILE.py:INSTANCE.{name}; {_listed(sorted(instances))}"
    )


def _listed(instances: Sequence[str]) -> str:
    if not instances:
        return "the module makes none when it is imported"
    return f"there are {', '.join(map(repr, instances))}"
