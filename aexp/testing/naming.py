"""From a workflow that a test holds to a name by which other processes find it."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from aexp.engine.registry import function_of
from aexp.errors import InvalidTarget, UsageError
from aexp.model.scenario import Scenario
from aexp.scenarios import find_scenario
from aexp.scenarios.arguments import given_arguments
from aexp.scenarios.bare import bare_scenario

__all__ = ["NamedScenario", "bind_parameters", "brief_path", "name_scenario"]

_LOCAL = "<locals>"


@dataclass(frozen=True, slots=True)
class NamedScenario:
    """A scenario, or a workflow made into one, and its names.

    Processes that have this one's path find it by ``target``, and people by ``place``, with a file.
    """

    target: str
    place: str
    scenario: Scenario[Any]

    @property
    def brief_place(self) -> str:
        """The place as a person in the working folder names it."""
        return brief_path(self.place)


def brief_path(path: str) -> str:
    """Return ``path`` as a person in the working folder writes it."""
    return path.removeprefix(f"{Path.cwd()}{os.sep}")


def name_scenario(given: Any) -> NamedScenario:
    """Name a workflow, a Scenario, or what ``aexp crash`` takes as text.

    Raises InvalidTarget for what is neither, or cannot be imported by another process.
    """
    if isinstance(given, str):
        target, scenario = find_scenario(given)
        return NamedScenario(target, target, scenario)
    # A scenario is at home where its workflow is, as a rule.
    workflow = given.workflow if isinstance(given, Scenario) else given
    called = given.name if isinstance(given, Scenario) else _called(workflow)
    _refuse_what_is_local(workflow)
    if isinstance(given, Scenario):
        scenario = given
    else:
        scenario = bare_scenario(called.rpartition(".")[2], workflow)
    for module in _homes(workflow):
        attribute = _attribute(module, given)
        if attribute is not None:
            place = f"{_file(module)}:{attribute}"
            return NamedScenario(_importable(module, attribute) or place, place, scenario)
    raise InvalidTarget(
        f"{called} is no attribute of the module {getattr(workflow, '__module__', None)!r}, where"
        " another process would look for it: give it a name at the top of that module"
    )


def bind_parameters(
    named: NamedScenario, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> BaseModel:
    """Make the parameters of a scenario of what its workflow would be called with.

    Raises UsageError for arguments that it does not take, and for a value that another process
    would not get as it is.
    """
    scenario = named.scenario
    given: dict[str, Any] = dict(kwargs)
    if scenario.arguments is given_arguments:
        signature = inspect.signature(scenario.workflow)
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise UsageError(f"{scenario.name}{signature} cannot be called so: {error}") from error
        given = {
            name: list(value)
            if signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
            else value
            for name, value in bound.arguments.items()
        }
    elif args:
        raise UsageError(f"{scenario.name} takes its parameters by name: give each as NAME=VALUE")
    parameters = scenario.validate(given)
    again = scenario.validate(parameters.model_dump(mode="json"))
    for name in type(parameters).model_fields:
        sent, arrives = getattr(parameters, name), getattr(again, name)
        if type(sent) is not type(arrives) or sent != arrives:
            raise UsageError(
                f"{scenario.name}: {name}={sent!r} would reach the workflow as {arrives!r}, since"
                " it goes there as JSON: give the argument a type annotation"
            )
    return parameters


def _called(workflow: Any) -> str:
    name = getattr(workflow, "__qualname__", None)
    return name if isinstance(name, str) else f"a {type(workflow).__name__}"


def _refuse_what_is_local(workflow: Any) -> None:
    """Raise InvalidTarget for a function that exists only while another one runs."""
    function = function_of(workflow)
    qualname = getattr(function, "__qualname__", "")
    if "<lambda>" in qualname:
        raise InvalidTarget(
            "a lambda is no workflow that another process can import: write a function at the top"
            " of a module and decorate it with @DBOS.workflow()"
        )
    if _LOCAL in qualname:
        outer, _, name = qualname.rpartition(f".{_LOCAL}.")
        raise InvalidTarget(
            f"{name} is defined inside {outer.replace(f'.{_LOCAL}', '')}(), where no other process"
            " can import it: move it to the top of its module"
        )


def _homes(workflow: Any) -> Iterator[ModuleType]:
    """Yield the modules in which ``workflow`` may have a name: its own, and its instance's."""
    owner = getattr(workflow, "__self__", None)
    names = [getattr(workflow, "__module__", None), getattr(type(owner), "__module__", None)]
    known = [sys.modules.get(name) for name in names if isinstance(name, str)]
    first = [module for module in known if module is not None]
    yield from first
    # One that is made of a class elsewhere lies in the module that made it.
    for module in list(sys.modules.values()):
        if module not in first and _is_of_the_user(module):
            yield module


def _is_of_the_user(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    if not isinstance(file, str):
        return False
    return "site-packages" not in file and not file.startswith((sys.base_prefix, sys.prefix))


def _attribute(module: ModuleType, wanted: Any) -> str | None:
    """Return the dotted name that ``wanted`` has in ``module``."""
    qualname = getattr(wanted, "__qualname__", None)
    if isinstance(qualname, str) and _find(module, qualname) == wanted:
        owner = getattr(wanted, "__self__", None)
        if owner is None or isinstance(owner, type):
            return qualname
    name = getattr(wanted, "__name__", None)
    for attribute, value in list(vars(module).items()):
        if value is wanted:
            return attribute
        owner = getattr(wanted, "__self__", None)
        if owner is not None and value is owner and isinstance(name, str):
            return f"{attribute}.{name}"
    return None


def _find(module: ModuleType, dotted: str) -> Any:
    found: Any = module
    for part in dotted.split("."):
        found = getattr(found, part, None)
    return found


def _importable(module: ModuleType, attribute: str) -> str | None:
    """Return the target by which a process with our path imports ``module`` under the name that it
    has here; None when its name is not that of its file, or leads to another one.
    """
    root = _root(module)
    if root is None:
        return None
    target = f"{module.__name__}:{attribute}"
    on_path = any(Path(entry or ".").absolute() == root for entry in sys.path)
    if not _is_found(module, root, sys.path if on_path else [str(root), *sys.path]):
        return None
    # Where it is not, pytest has imported it in its mode "importlib".
    return target if on_path else f"{target} in {root}"


def _is_found(module: ModuleType, root: Path, path: Sequence[str]) -> bool:
    """Return whether an import that looks through ``path`` comes to the module below ``root``.

    A package of the same name elsewhere, as ``tests`` often is, goes before a folder that has no
    ``__init__.py``.
    """
    top = module.__name__.partition(".")[0]
    spec = PathFinder.find_spec(top, path)
    if spec is None:
        return True
    if spec.submodule_search_locations is None:
        return spec.origin is not None and Path(spec.origin).absolute() == _file(module)
    return any(Path(each).absolute() == root / top for each in spec.submodule_search_locations)


def _root(module: ModuleType) -> Path | None:
    """Return the folder from which the module's file has the module's name; None when none has."""
    file = _file(module)
    parts = module.__name__.split(".")
    path = file.parent if file.name == "__init__.py" else file.with_suffix("")
    if list(path.parts[-len(parts) :]) != parts:
        return None
    return path.parents[len(parts) - 1]


def _file(module: ModuleType) -> Path:
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not file.endswith(".py"):
        raise InvalidTarget(
            f"the module {module.__name__!r} has no Python file, so that no other process can"
            " import it: write the workflow in a file"
        )
    return Path(file).absolute()
