"""From what a person writes to a scenario: a name, ``path/to/flows.py:checkout`` or
``package.module:checkout``.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from dbos import error as dbos_error

from aexp.engine.declared import Declarations, noting_declarations
from aexp.engine.refusals import explain_old_code
from aexp.errors import InvalidTarget, UnknownScenario
from aexp.model.scenario import Scenario
from aexp.scenarios.bare import bare_scenario

__all__ = ["check_file", "is_path", "load_attribute", "load_object", "nearest", "normalise"]

_FOLDER = " in "
_NO_PARENT = "attempted relative import with no known parent package"
# What lies at the root of a project.
_PROJECT = ("pyproject.toml", "setup.py", "setup.cfg", ".git")
# What modules gave to DBOS when they were imported, which happens once.
_declared: WeakKeyDictionary[ModuleType, Declarations] = WeakKeyDictionary()


def is_path(target: str) -> bool:
    """Return whether ``target`` names an object in a module rather than a scenario."""
    return ":" in target


def normalise(target: str) -> str:
    """Return ``target`` such that it names the same object from any working folder.

    A module that lies in the working folder becomes ``package.module:NAME in FOLDER``.
    """
    module, separator, attribute = target.rpartition(":")
    if not separator or _FOLDER in target:
        return target
    if module.endswith(".py"):
        return f"{Path(module).absolute()}:{attribute}"
    top = module.partition(".")[0]
    here = Path.cwd()
    if (here / top).is_dir() or (here / f"{top}.py").is_file():
        return f"{target}{_FOLDER}{here}"
    return target


def load_object(target: str) -> Scenario[Any]:
    """Load the scenario, or bare workflow made into one, that ``MODULE:NAME`` names.

    Raises InvalidTarget with the reason in one line.
    """
    module, found = _load(target)
    declared = _declared[module]
    _, attribute, _ = _split(target)
    if not isinstance(found, Scenario):
        found = bare_scenario(attribute.rpartition(".")[2], found)
    return replace(found, declared=declared) if declared != found.declared else found


def load_attribute(target: str) -> Any:
    """Load whatever ``MODULE:NAME`` names. Raises InvalidTarget with the reason in one line."""
    return _load(target)[1]


def _load(target: str) -> tuple[ModuleType, Any]:
    module_name, attribute, folder = _split(target)
    with noting_declarations() as learn:
        module = _import(module_name, folder, learn)
    # One that was imported before gives nothing more.
    _declared.setdefault(module, learn())
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise InvalidTarget(f"{module_name} has no {attribute!r}{_hint(module, attribute)}")
        found = getattr(found, part)
    return module, found


def _split(target: str) -> tuple[str, str, str]:
    """Split a target that names an object into module, name and folder."""
    named, _, folder = target.partition(_FOLDER)
    module_name, _, attribute = named.rpartition(":")
    if not module_name or not attribute:
        raise InvalidTarget(f"{named!r} names no object: write path/to/flows.py:checkout")
    return module_name, attribute, folder


def nearest(name: str, known: Mapping[str, Any]) -> UnknownScenario:
    """Make the error for a scenario that is not ``known``, with the names that come nearest."""
    return UnknownScenario(name, difflib.get_close_matches(name, list(known), n=2, cutoff=0.6))


def _hint(module: ModuleType, attribute: str) -> str:
    close = difflib.get_close_matches(attribute, vars(module), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def check_file(target: str) -> None:
    """Raise InvalidTarget where ``target`` names a file that is not there, or no object."""
    module_name, _, _ = _split(target)
    if module_name.endswith(".py") and not Path(module_name).is_file():
        raise InvalidTarget(f"no file {Path(module_name).absolute()}")


def _import(name: str, folder: str, learn: Callable[[], Declarations]) -> ModuleType:
    try:
        if name.endswith(".py"):
            return _import_file(Path(name))
        if folder:
            sys.path.insert(0, folder)
        return importlib.import_module(name)
    except InvalidTarget:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, dbos_error.DBOSException) and "launch" in learn().held_off:
            raise InvalidTarget(
                f"{name} works with DBOS when it is imported ({error}): put what comes after"
                ' DBOS.launch() below `if __name__ == "__main__":`'
            ) from error
        reason = " ".join(str(error).split()) or "no reason given"
        if _NO_PARENT in reason:
            reason += ": its folder has no __init__.py; add one, or name it as PACKAGE.MODULE:NAME"
        if (advice := explain_old_code(error)) is not None:
            reason = f"{reason.rstrip('.')}: {advice}"
        raise InvalidTarget(f"{name} does not import: {type(error).__name__}: {reason}") from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InvalidTarget(f"no file {path}")
    path = path.absolute()
    # Under its own name, so that what the workflows pickle is found again by the next process.
    name, root = _module_name(path)
    known = sys.modules.get(name)
    if known is not None:
        return _same_module(known, name, path)
    _add_paths(path, root)
    if root != path.parent:
        # Beside its neighbours, which it may import relatively.
        parent = name.rpartition(".")[0]
        package = importlib.import_module(parent)
        if not _holds(package, path):
            raise InvalidTarget(
                f"{path} would be imported as {name!r}, but {parent!r} is another package,"
                f" {getattr(package, '__file__', None)}: rename the folder"
            )
        if (known := sys.modules.get(name)) is not None:
            return _same_module(known, name, path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InvalidTarget(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _module_name(path: Path) -> tuple[str, Path]:
    """Return the name under which other modules import ``path``, and the folder to find it in."""
    # A dot in it would make a package of what comes before.
    parts = [] if path.name == "__init__.py" else [path.stem.replace(".", "_")]
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        parts.append(folder.name)
        folder = folder.parent
    if not parts:
        # A package whose folder no import statement can name.
        return path.parent.name, path.parent
    return ".".join(reversed(parts)), folder


def _same_module(known: ModuleType, name: str, path: Path) -> ModuleType:
    """Return ``known``, if it is the module of ``path``; raises InvalidTarget otherwise."""
    file = getattr(known, "__file__", None)
    if file is not None and Path(file).absolute() == path:
        return known
    raise InvalidTarget(
        f"{path} would be imported as {name!r}, a module that is in use: rename the file"
    )


def _holds(package: ModuleType, path: Path) -> bool:
    return any(Path(folder).absolute() == path.parent for folder in package.__path__)


def _add_paths(path: Path, root: Path) -> None:
    """Let the module of ``path`` import as it does where it is at home.

    What lies beside it and, last, from the root of its project, as where the project is installed.
    """
    sys.path.insert(0, str(root))
    last = [path.parent]
    project = next(
        (folder for folder in path.parents if any((folder / m).exists() for m in _PROJECT)), None
    )
    if project is not None:
        last += [project / "src", project]
    sys.path += [str(folder) for folder in last if folder.is_dir() and str(folder) not in sys.path]
