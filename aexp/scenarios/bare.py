"""Make a scenario from nothing but a DBOS workflow."""

from __future__ import annotations

import inspect
import types
import typing
import warnings
from collections.abc import (
    Mapping,
    Sequence,
)
from typing import Any

from pydantic import BaseModel, PydanticUserError, create_model

from aexp.engine.registry import is_workflow, lacks_instance, workflow_name
from aexp.errors import InvalidTarget
from aexp.model.parameters import Parameters
from aexp.model.scenario import Scenario

__all__ = ["bare_scenario"]


def typed_arguments(parameters: BaseModel) -> Mapping[str, Any]:
    """Return the parameters as the values that their types say, by name."""
    return {name: getattr(parameters, name) for name in type(parameters).model_fields}


def bare_scenario(name: str, workflow: Any) -> Scenario[Any]:
    """Make a scenario from nothing but an async DBOS workflow; its parameters are its arguments.

    Raises InvalidTarget when ``workflow`` is not one.
    """
    if not callable(workflow) or isinstance(workflow, type):
        raise InvalidTarget(
            f"{name} is {type(workflow).__name__}: name an aexp Scenario or an async function"
            " decorated with @DBOS.workflow()"
        )
    if not inspect.iscoroutinefunction(inspect.unwrap(workflow)):
        raise InvalidTarget(f"{name} is not async: write it as `async def`")
    if not is_workflow(workflow):
        raise InvalidTarget(f"{name} is no DBOS workflow: decorate it with @DBOS.workflow()")
    summary = (inspect.getdoc(workflow) or "").partition("\n")[0]
    return Scenario(
        name=name,
        summary=summary or f"The workflow {workflow_name(workflow)}.",
        workflow=workflow,
        parameters=_model_of(name, workflow),
        # Its arguments have the types that its author gave them.
        arguments=typed_arguments,
        listens_to_all_queues=True,
    )


def _model_of(name: str, workflow: Any) -> type[BaseModel]:
    """Make a model of parameters of the arguments of ``workflow``."""
    if lacks_instance(workflow):
        raise InvalidTarget(f"{name} is a method without its instance: name it on a configured one")
    fields: dict[str, Any] = {}
    given = inspect.signature(workflow).parameters.values()
    named = [parameter for parameter in given if parameter.kind is not parameter.VAR_KEYWORD]
    annotations = _annotations(name, workflow, named)
    for parameter in named:
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY}:
            raise InvalidTarget(
                f"{name} takes {parameter} by position, but a run's parameters are named:"
                " give its arguments names and defaults"
            )
        if parameter.name.startswith("_") or parameter.name == "model_config":
            raise InvalidTarget(
                f"{name} takes {parameter.name!r}, which cannot be the name of a parameter"
            )
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (annotations.get(parameter.name, Any), default)
    try:
        with warnings.catch_warnings():
            # An argument may be named as a method of the model that nobody calls on this one.
            warnings.simplefilter("ignore", UserWarning)
            return create_model(f"{name}_parameters", __base__=Parameters, **fields)
    except PydanticUserError as error:
        raise InvalidTarget(f"{name}: {error.message.splitlines()[0]}") from error


def _annotations(
    name: str, workflow: Any, parameters: Sequence[inspect.Parameter]
) -> Mapping[str, Any]:
    """Return the types of ``parameters``; look up those written as text one by one."""
    scope = getattr(inspect.unwrap(workflow), "__globals__", {})
    found: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.annotation is parameter.empty:
            continue
        holder = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
        try:
            found |= typing.get_type_hints(holder, globalns=scope, include_extras=True)
        except Exception as error:
            raise InvalidTarget(
                f"{name} takes {parameter}, whose type is unknown: {error}"
            ) from error
    return found
