"""Make parameters of the arguments of a workflow that nobody wrote for aexp."""

from __future__ import annotations

import inspect
import json
import math
import types
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, get_origin

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PydanticUserError,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidatorFunctionWrapHandler,
    WrapSerializer,
    WrapValidator,
    create_model,
    model_serializer,
    model_validator,
)

from aexp.errors import InvalidTarget
from aexp.model.parameters import Parameters

__all__ = ["arguments_model", "given_arguments"]


class _Arguments(Parameters):
    """Base of the parameters that are the arguments of a workflow.

    They are stored as JSON that PostgreSQL takes: a number that is none as a text, and no text with
    a NUL or half of a surrogate pair.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, given: Any) -> Any:
        for name, value in given.items() if isinstance(given, Mapping) else ():
            if not all(map(_is_storable, _texts(value))):
                raise ValueError(
                    f"{name} holds a NUL or half of a surrogate pair, which PostgreSQL cannot store"
                )
        return given

    @model_serializer(mode="wrap")
    def _stored(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        stored: dict[str, Any] = _finite(handler(self))
        return stored


def given_arguments(parameters: BaseModel) -> Mapping[str, Any]:
    """Return the parameters that were given as the values that their types say, by the names of the
    arguments.
    """
    return {
        field.alias or name: getattr(parameters, name)
        for name, field in type(parameters).model_fields.items()
        if name in parameters.model_fields_set
    }


def arguments_model(name: str, workflow: Any) -> type[BaseModel]:
    """Make a model of the arguments of ``workflow``, which is called ``name``.

    Variadic ones are a list and an object. One whose type nobody can make a value of is left to its
    default. Raises InvalidTarget when it has none.
    """
    fields: dict[str, Any] = {}
    scope = getattr(inspect.unwrap(workflow), "__globals__", {})
    arguments = inspect.signature(workflow).parameters
    for argument in arguments.values():
        try:
            annotation = _annotation(argument, scope)
            adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        except Exception as error:
            if argument.default is not argument.empty:
                continue
            if argument.kind is argument.VAR_POSITIONAL or argument.kind is argument.VAR_KEYWORD:
                continue
            reason = str(getattr(error, "message", error)).partition("\n")[0].partition(". ")[0]
            raise InvalidTarget(
                f"{name} takes {argument}, of whose type no parameter can be made: {reason}: give"
                " it a default, or write a Scenario"
            ) from error
        alias = _field_name(argument.name, {*arguments, *fields})
        fields[alias] = _field(argument, annotation, adapter, alias)
    try:
        with warnings.catch_warnings():
            # An argument may be named as a method of the model that nobody calls on this one.
            warnings.simplefilter("ignore", UserWarning)
            return create_model(f"{name}_parameters", __base__=_Arguments, **fields)
    except PydanticUserError as error:
        raise InvalidTarget(f"{name}: {error.message.splitlines()[0]}") from error


def _annotation(argument: inspect.Parameter, scope: Mapping[str, Any]) -> Any:
    """Return the type of a parameter for ``argument``; raises what looking up a name raises."""
    found: Any = Any
    if argument.annotation is not argument.empty:
        holder = types.SimpleNamespace(__annotations__={argument.name: argument.annotation})
        hints = typing.get_type_hints(holder, globalns=dict(scope), include_extras=True)
        found = hints[argument.name]
    if argument.kind is argument.VAR_POSITIONAL:
        return list[found] if get_origin(found) is not typing.Unpack else list[Any]
    if argument.kind is argument.VAR_KEYWORD:
        return dict[str, found] if get_origin(found) is not typing.Unpack else found.__args__[0]
    return found


def _field_name(argument: str, taken: set[str]) -> str:
    """Return ``argument``, or a name like it that pydantic takes for a field."""
    if not argument.startswith("_") and argument != "model_config":
        return argument
    wanted = argument.strip("_") or "argument"
    while wanted in taken or not wanted.isidentifier() or wanted == "model_config":
        wanted = f"argument_{wanted}"
    return wanted


def _field(
    argument: inspect.Parameter, annotation: Any, adapter: TypeAdapter[Any], name: str
) -> tuple[Any, Any]:
    """Return the definition of the field ``name`` for ``argument``."""
    options: dict[str, Any] = {}
    if name != argument.name:
        options = {
            "alias": argument.name,
            "validation_alias": AliasChoices(argument.name, name),
        }
    if argument.kind is argument.VAR_POSITIONAL:
        return annotation, Field(default_factory=list, **options)
    if argument.kind is argument.VAR_KEYWORD:
        return annotation, Field(default_factory=dict, **options)
    if argument.default is argument.empty:
        return annotation, Field(**options)
    default = argument.default
    if _comes_back(adapter, default):
        return annotation, Field(default=default, **options)
    return _with_default(annotation, adapter, default), Field(
        # Not copied: nobody knows what it is.
        default_factory=lambda: default,
        **options,
    )


def _comes_back(adapter: TypeAdapter[Any], default: Any) -> bool:
    """Return whether ``default`` is the same after it was stored as JSON and read again."""
    try:
        stored = json.loads(json.dumps(_finite(adapter.dump_python(default, mode="json"))))
        if not all(map(_is_storable, _texts(stored))):
            return False
        again = adapter.validate_python(stored)
        return type(again) is type(default) and bool(again == default)
    except Exception:
        return False


def _with_default(annotation: Any, adapter: TypeAdapter[Any], default: Any) -> Any:
    """Make a type of ``annotation`` that stores ``default`` as a text, and takes it for that."""
    stored = ascii(default) if isinstance(default, str | bytes) else f"<{type(default).__name__}>"
    with suppress(Exception):
        told = _finite(adapter.dump_python(default, mode="json", warnings=False))
        json.dumps(told)
        if all(map(_is_storable, _texts(told))):
            stored = told

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        same = value is default or (type(value) is type(stored) and value == stored)
        return default if same else handler(value)

    def serialize(value: Any, handler: SerializerFunctionWrapHandler) -> Any:
        return stored if value is default else handler(value)

    return Annotated[annotation, WrapValidator(validate), WrapSerializer(serialize)]


def _finite(value: Any) -> Any:
    """Return JSON values with a text for each number that JSON does not know."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return _mapped(value, _finite)


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: change(inner) for key, inner in value.items()}
    return [change(inner) for inner in value] if isinstance(value, list) else value


def _texts(value: Any) -> Iterator[str]:
    """Return every text in JSON values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(key)
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _is_storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)
