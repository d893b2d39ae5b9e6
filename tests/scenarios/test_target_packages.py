"""A file of a package is imported as the module that it is for its neighbours."""

from __future__ import annotations

import pickle
import sys

import pytest

from aexp.scenarios import find_scenario
from tests.support.targets import FLOWS, refused, write

pytestmark = pytest.mark.usefixtures("nothing_imported")


STEPS = """
    def pay() -> str:
        return __name__
"""
RELATIVE = """
    from dbos import DBOS
    from .steps import pay

    class Cart: ...

    @DBOS.workflow()
    def checkout(cart: str = pay()) -> None: ...

    if __name__ == "__main__":
        raise SystemExit("not run")
"""


@pytest.mark.parametrize("folder", ["", "src/", "not-a-name/"])
def test_a_file_of_a_package_is_the_module_that_it_is_for_its_neighbours(folder: str) -> None:
    write(f"{folder}shop/__init__.py", "NAME = 'shop'")
    write(f"{folder}shop/orders/__init__.py", "")
    write(f"{folder}shop/orders/steps.py", STEPS)
    write(f"{folder}shop/orders/flows.py", RELATIVE)

    target, scenario = find_scenario(f"{folder}shop/orders/flows.py:checkout")

    module = sys.modules["shop.orders.flows"]
    assert scenario.from_text({}).model_dump() == {"cart": "shop.orders.steps"}
    assert pickle.loads(pickle.dumps(module.Cart)) is module.Cart
    assert find_scenario(target)[1].workflow is scenario.workflow
    assert "flows" not in sys.modules


def test_a_package_that_imports_its_file_imports_it_once() -> None:
    write("shop/__init__.py", "from shop.flows import checkout")
    write("shop/steps.py", STEPS)
    write("shop/flows.py", RELATIVE)

    _, scenario = find_scenario("shop/flows.py:checkout")

    assert scenario.workflow is sys.modules["shop"].checkout
    assert find_scenario("shop/__init__.py:checkout")[1].workflow is scenario.workflow


def test_a_folder_named_as_a_package_in_use_is_refused() -> None:
    write("json/__init__.py", "")
    write("json/flows.py")

    message = refused("json/flows.py:checkout")

    assert "would be imported as 'json.flows', but 'json' is another package" in message
    assert message.endswith("rename the folder")


@pytest.mark.parametrize("package", [True, False])
@pytest.mark.parametrize("stem", ["01_flows", "my-flows", "my flows", "v1.2"])
def test_a_file_may_have_a_name_that_no_import_statement_takes(stem: str, package: bool) -> None:
    if package:
        write("shop/__init__.py", "")
        write("shop/steps.py", STEPS)
    write(f"shop/{stem}.py", RELATIVE if package else FLOWS)

    target, scenario = find_scenario(f"shop/{stem}.py:checkout")

    assert scenario.name == "checkout"
    assert find_scenario(target)[1].workflow is scenario.workflow


def test_a_module_without_a_package_imports_from_the_root_of_its_project(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write("pyproject.toml", "")
    write("src/shop/steps.py", STEPS)
    file = write("src/shop/flows.py", RELATIVE.replace(".steps", "shop.steps"))
    monkeypatch.chdir("/")

    _, scenario = find_scenario(f"{file}:checkout")

    assert scenario.from_text({}).model_dump() == {"cart": "shop.steps"}


def test_a_relative_import_without_a_package_is_told_what_it_lacks() -> None:
    write("shop/steps.py", STEPS)
    write("shop/flows.py", RELATIVE)

    assert "add one, or name it as PACKAGE.MODULE:NAME" in refused("shop/flows.py:checkout")
    assert find_scenario("shop.flows:checkout")[1].name == "checkout"


def test_code_for_an_older_dbos_is_told_so() -> None:
    write("flows.py", "from dbos import DBOS\n@DBOS.transaction()\ndef pay() -> None: ...")

    message = refused("flows.py:pay")

    assert "this code is for an older DBOS than 3.4, where it is a SQLAlchemyDatasource" in message
