"""A workflow in a module whose name leads another process to another module."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aexp.errors import UsageError
from aexp.testing.fixture import one_line
from aexp.testing.naming import name_scenario

_NAME = "shadowed_tests.test_shadowed_orders"


@pytest.fixture
def module(tmp_path: Path) -> Iterator[Path]:
    """A file in a folder that is no package, imported as pytest does in its mode importlib."""
    file = tmp_path / "project" / "shadowed_tests" / "test_shadowed_orders.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "from dbos import DBOS\n\n\n@DBOS.workflow()\ndef shadowed_order() -> None: ...\n"
    )
    spec = importlib.util.spec_from_file_location(_NAME, file)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[_NAME] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield file
    del sys.modules[_NAME]


def test_a_module_is_named_as_it_is_imported(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workflow = sys.modules[_NAME].shadowed_order
    root = module.parents[1]
    assert name_scenario(workflow).target == f"{_NAME}:shadowed_order in {root}"
    monkeypatch.syspath_prepend(str(root))
    assert name_scenario(workflow).target == f"{_NAME}:shadowed_order"


@pytest.mark.parametrize("on_path", [False, True])
def test_a_package_that_goes_before_its_folder_is_passed_by(
    module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, on_path: bool
) -> None:
    package = tmp_path / "installed" / "shadowed_tests"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    # Python takes a package, however late it comes, before a folder without an __init__.py.
    monkeypatch.syspath_prepend(str(package.parent))
    if on_path:
        monkeypatch.syspath_prepend(str(module.parents[1]))
    monkeypatch.chdir(module.parent)
    named = name_scenario(sys.modules[_NAME].shadowed_order)
    assert named.target == f"{module}:shadowed_order"


def test_what_a_person_can_mend_is_told_without_what_it_comes_of() -> None:
    with pytest.raises(pytest.fail.Exception) as caught, one_line():
        raise UsageError("give it a name") from OSError("gone")
    assert str(caught.value) == "aexp: give it a name"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
