"""The page that says where things are is true."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import aexp

PACKAGE = Path(aexp.__file__).parent
PAGE = PACKAGE.parent / "docs" / "architecture.md"
_PLACE = re.compile(r"`([\w/]+\.py)(?::([\w.]+))?`")


def places(text: str) -> list[tuple[str, str]]:
    """The files that ``text`` names, each with what is said to stand there, if anything."""
    return _PLACE.findall(text)


def defined(path: Path) -> set[str]:
    """Classes, functions and methods of a module, the last as ``Class.method``."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}.{inner.name}"
                for inner in node.body
                if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef))
            }
    return found


@pytest.mark.parametrize(("file", "name"), sorted(set(places(PAGE.read_text(encoding="utf-8")))))
def test_what_the_page_names_is_there(file: str, name: str) -> None:
    path = PACKAGE / file
    assert path.is_file(), f"{file} is named in {PAGE.name}, and is not there"
    assert not name or name in defined(path), f"{file} has no {name}"


def test_every_package_has_a_place_in_the_plan() -> None:
    plan = PAGE.read_text(encoding="utf-8").partition("## Floor plan")[2].partition("## One")[0]
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages, "there are packages"
    assert [name for name in sorted(packages) if f"{name}/" not in plan] == []


def test_a_place_that_is_not_there_is_found(tmp_path: Path) -> None:
    assert places("see `a/b.py:C.d` and `e.py`, not `f`") == [("a/b.py", "C.d"), ("e.py", "")]
    module = tmp_path / "module.py"
    module.write_text("class C:\n    def d(self): ...\n\ndef f(): ...\n")
    assert defined(module) == {"C", "C.d", "f"}
