"""The check of names finds types that share one and names that nobody exports, and nothing else."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "names"

PROMISE = '''
"""Promises."""

from typing import Literal, TypeVar

__all__ = ["SAMPLE", "Outcome", "Promise", "check"]

SAMPLE = 20
Outcome = Literal["kept", "broken"]
_T = TypeVar("_T")
inner = 1


class Promise:
    """A promise."""


def check() -> None:
    """Check."""
'''
# Private types, constants and functions may share a name, and so may a class in a class.
CLEAN = '''
"""Verdicts."""

import aexp.model.promise as promises
from aexp import model
from aexp.model import promise
from aexp.model.promise import SAMPLE, Promise, check as check_it

SAMPLES = [SAMPLE, promise.SAMPLE, promises.check, model.promise, promise.__doc__]
_T = str


class Verdict:
    """A verdict."""

    class Outcome:
        """How it came out."""


def check() -> None:
    """Check."""
    promise = Promise()
    check_it(promise)


def command(promise: str) -> str:
    """Work with a text that has the name of a module."""
    return promise.upper()
'''


@pytest.fixture(scope="module")
def names() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("names", str(SCRIPT))
    spec = importlib.util.spec_from_loader("names", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up; and a checkout is no place for the bytecode of a script.
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.modules["names"] = module
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = kept
        del sys.modules["names"]
    return module


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    _plant(tmp_path, "aexp/__init__.py", '"""A laboratory."""\n')
    _plant(tmp_path, "aexp/model/__init__.py", '"""Plain types."""\n')
    _plant(tmp_path, "aexp/model/promise.py", PROMISE)
    return tmp_path


def _plant(root: Path, name: str, source: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")


def _complaints(
    names: ModuleType, root: Path, allowed: Mapping[str, set[str]] | None = None
) -> list[str]:
    modules = names.read_modules(root)
    return [*names.find_shared_types(modules), *names.find_unexported(modules, allowed or {})]


def test_a_clean_tree_passes(names: ModuleType, tree: Path) -> None:
    _plant(tree, "aexp/audit.py", CLEAN)
    assert _complaints(names, tree) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("Promise", "class Promise: ..."),
        ("Outcome", "Outcome = str"),
        ("Outcome", "import typing\nOutcome: typing.TypeAlias = str"),
        ("Promise", "from typing import NewType\nPromise = NewType('Promise', str)"),
    ],
)
def test_no_two_public_types_share_a_name(
    names: ModuleType, tree: Path, name: str, source: str
) -> None:
    _plant(tree, "aexp/zoo.py", source)
    line = len(source.splitlines())
    (complaint,) = _complaints(names, tree)
    assert complaint.startswith(f"aexp/zoo.py:{line}: the type {name} has the name of the one at")
    assert "aexp/model/promise.py:" in complaint


def test_a_type_variable_is_public_without_an_underscore(names: ModuleType, tree: Path) -> None:
    for module in ("one", "two"):
        _plant(tree, f"aexp/{module}.py", 'from typing import TypeVar\nT = TypeVar("T")\n')
    assert _complaints(names, tree) == [
        "aexp/two.py:2: the type T has the name of the one at aexp/one.py:2"
    ]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("inner", "from aexp.model.promise import inner"),
        ("inner", "from aexp.model.promise import (SAMPLE,\n  inner as outer)"),
        ("_T", "from aexp.model.promise import _T"),
        ("*", "from aexp.model.promise import *"),
        ("inner", "from aexp.model import promise\nnumber = promise.inner"),
        ("inner", "import aexp.model.promise as promises\nnumber = promises.inner"),
        ("inner", "def work():\n    from aexp.model import promise\n    promise.inner"),
        ("inner", "from aexp.model import promise\n\n@promise.inner\ndef work(): ..."),
        ("inner", "if True:\n    from aexp.model.promise import inner"),
    ],
)
def test_what_is_not_exported_is_not_for_others(
    names: ModuleType, tree: Path, name: str, source: str
) -> None:
    _plant(tree, "aexp/audit.py", source)
    (complaint,) = _complaints(names, tree)
    assert complaint.startswith("aexp/audit.py:")
    assert complaint.endswith(f": {name} is not in __all__ of aexp.model.promise")


def test_tests_take_what_they_are_allowed_and_no_more(names: ModuleType, tree: Path) -> None:
    source = "from aexp.model.promise import _T, inner"
    _plant(tree, "tests/test_promise.py", source)
    allowed = {"aexp.model.promise": {"inner"}}
    private = "tests/test_promise.py:1: _T is not in __all__ of aexp.model.promise"
    assert _complaints(names, tree, allowed) == [private]

    _plant(tree, "aexp/audit.py", source)
    assert len(_complaints(names, tree, allowed)) == 3

    unneeded = {"aexp.model.promise": {"_T", "inner", "outer"}}
    _plant(tree, "aexp/audit.py", CLEAN)
    (complaint,) = _complaints(names, tree, unneeded)
    assert complaint.startswith("no test takes outer of aexp.model.promise: ")


def test_the_check_of_this_checkout_passes_and_of_another_fails(tree: Path) -> None:
    ours = subprocess.run([sys.executable, SCRIPT, ROOT], check=False, capture_output=True)
    assert ours.returncode == 0, ours.stdout
    _plant(tree, "aexp/audit.py", "from aexp.model.promise import inner\n")
    other = subprocess.run([sys.executable, SCRIPT, tree], check=False, capture_output=True)
    assert other.returncode == 1
    assert b"aexp/audit.py:1: inner is not in __all__ of aexp.model.promise" in other.stdout
