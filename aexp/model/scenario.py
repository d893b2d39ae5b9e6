"""The public type that built-in scenarios and a user's own share."""

from __future__ import annotations

import json
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from aexp.database.connect import Connection
from aexp.durable.schedules import Schedule
from aexp.engine.declared import Declarations
from aexp.engine.runtime import Queue, Runtime
from aexp.errors import AexpError, InvalidParameter, ScenarioError
from aexp.model.parameters import Parameters
from aexp.model.promise import Promise
from aexp.model.run import Ending, Run
from aexp.processes.progress import Reached

__all__ = ["Account", "Scenario", "scenario_code"]

_E = TypeVar("_E")

# What happened, in sections of JSON values. Each is shown as its shape asks: a mapping of mappings
# or a list of mappings as a table, a mapping with "children" (a list of the like) as a tree, any
# other mapping as a row of figures, and what is no mapping as it is.
Account = Mapping[str, Any]


@contextmanager
def scenario_code(scenario: Scenario[Any], part: str) -> Iterator[None]:
    """Say whose code it was when ``part`` of a scenario raises; errors of ours pass as they are."""
    try:
        yield
    except AexpError:
        raise
    except Exception as error:
        raise ScenarioError(scenario.name, part, error) from error


def json_arguments(parameters: BaseModel) -> Mapping[str, Any]:
    """Return the parameters as JSON values, by name."""
    return parameters.model_dump(mode="json")


async def _no_facts(_parameters: Any) -> Mapping[str, Any]:
    return {}


async def _no_evidence(_connection: Connection, _run: Run, _ending: Ending) -> None:
    return None


def _no_account(_evidence: Any) -> Account:
    return {}


@dataclass(frozen=True, kw_only=True)
class Scenario(Generic[_E]):
    """A durable story: a workflow, what it needs in each process, and what it promises.

    Only ``name``, ``summary`` and ``workflow`` have to be given. Callables that take parameters get
    an instance of the model.

    **The workflow.** ``workflow`` is a DBOS workflow, async or sync: a function, the method of a
    class or the bound method of a configured instance. It is started under the run's id with the
    ``parameters`` by name: as JSON values, unless ``arguments`` makes something else of the model.
    ``steps`` is about how many step bodies run, from which ``--kills`` chooses its moments; None
    when nobody knows. ``reached`` tells from the database how many of the units that
    ``Progress.advance`` counts are done; None when nobody can tell.

    **What it needs.** ``queues`` are polled, and no others unless it ``listens_to_all_queues``;
    ``schedules`` are those of the run. ``resources`` is an async generator with one ``yield``,
    entered in every process before DBOS launches. ``facts`` notes what the run depends on outside
    the database (an input file's fingerprint); they are noted again on each resume, and
    ``check_facts`` raises when they no longer agree. ``declared`` is what its module gave to DBOS,
    as aexp found it when it imported the module.

    **What it promises.** ``gather`` reads the evidence when the run has ended, ``promises`` judge
    it, ``account`` tells what happened as JSON values. For ``aexp crash``, ``comparable`` makes of
    a result what must be the same in every run, ``duplicates`` counts the effects that happened
    more than once, allowed or not, and ``expect_error`` says that the workflow ends in error when
    it is left alone, as it should.
    """

    # The workflow.
    name: str
    summary: str
    workflow: Callable[..., Any]
    parameters: type[BaseModel] = Parameters
    arguments: Callable[[Any], Mapping[str, Any]] = json_arguments
    steps: Callable[[Any, Mapping[str, Any]], int | None] = field(
        default=lambda _parameters, _facts: None
    )
    reached: Callable[[Connection, Run], Awaitable[Reached]] | None = None

    # What it needs.
    queues: Callable[[Any], Sequence[Queue]] = field(default=lambda _parameters: ())
    schedules: Callable[[Any], Sequence[Schedule]] = field(default=lambda _parameters: ())
    listens_to_all_queues: bool = False
    declared: Declarations = field(default_factory=Declarations, compare=False)
    resources: Callable[[Runtime, Run], AsyncIterator[None]] | None = None
    facts: Callable[[Any], Awaitable[Mapping[str, Any]]] = _no_facts
    check_facts: Callable[[Any, Mapping[str, Any]], Awaitable[None]] | None = None

    # What it promises.
    gather: Callable[[Connection, Run, Ending], Awaitable[_E]] = _no_evidence  # type: ignore[assignment]
    promises: Sequence[Promise[_E]] = ()
    account: Callable[[_E], Account] = _no_account
    comparable: Callable[[Any], Any] = field(default=lambda result: result)
    duplicates: Callable[[_E], int] | None = None
    expect_error: bool = False

    def validate(self, given: Mapping[str, Any]) -> BaseModel:
        """Make a model of the parameters; raises InvalidParameter with every problem."""
        try:
            return self.parameters.model_validate(given)
        except ValidationError as error:
            problems = [_problem(self.parameters, item) for item in error.errors()]
            raise InvalidParameter(self.name, problems) from error

    def from_text(self, assignments: Mapping[str, str]) -> BaseModel:
        """Read parameters from ``key=value`` texts: each is JSON when the field is no string."""
        return self.validate(
            {key: _read_text(self.parameters, key, text) for key, text in assignments.items()}
        )


def _read_text(model: type[BaseModel], key: str, text: str) -> Any:
    """Read ``text`` as JSON, if the field takes that; else as the text, of which pydantic makes
    numbers and booleans.
    """
    field_info = model.model_fields.get(key) or next(
        (known for known in model.model_fields.values() if known.alias == key), None
    )
    if field_info is None or field_info.annotation is None or field_info.annotation is str:
        return text
    try:
        value = json.loads(text)
        TypeAdapter(field_info.annotation).validate_python(value)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, str) else value


def _problem(model: type[BaseModel], item: Any) -> str:
    name = ".".join(str(part) for part in item["loc"]) or "parameters"
    if item["type"] == "extra_forbidden":
        known = ", ".join(
            known.alias or field_name for field_name, known in model.model_fields.items()
        )
        return f"unknown parameter {name!r}: it takes {known or 'none'}"
    if item["type"] == "missing":
        return f"parameter {name!r} is missing: give --set {name}=VALUE"
    message = item["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if item["loc"]:
        return f"parameter {name}={item['input']!r}: {message}"
    return str(message)
