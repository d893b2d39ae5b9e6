"""How a workflow that a test holds is named for other processes, and its arguments with it."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest
from dbos import DBOS, DBOSConfiguredInstance

from aexp.errors import InvalidTarget, UsageError
from aexp.scenarios.resume.workflow import SCENARIO
from aexp.testing.naming import bind_parameters, name_scenario


@DBOS.workflow()
def named_ship(order: str, *parts: int, day: date | None = None, **marks: str) -> str:
    return order


renamed = named_ship


@DBOS.dbos_class()
class NamedShop(DBOSConfiguredInstance):
    def __init__(self) -> None:
        super().__init__(config_name="named")

    @DBOS.workflow()
    def sell(self, order: str) -> str:
        return order


named_shop = NamedShop()


@DBOS.workflow()
def _hidden(value: object = None) -> None:
    return None


wrapped = _hidden
del _hidden


@pytest.mark.parametrize(
    ("workflow", "attribute"),
    [
        (named_ship, "named_ship"),
        (named_shop.sell, "named_shop.sell"),
        (NamedShop.sell, "NamedShop.sell"),
        (wrapped, "wrapped"),
    ],
)
def test_a_workflow_is_named_as_its_module_has_it(workflow: object, attribute: str) -> None:
    found = name_scenario(workflow)
    assert found.target == f"{__name__}:{attribute}"
    assert found.place == f"{__file__}:{attribute}"
    assert found.scenario.name == attribute.rpartition(".")[2] or attribute == "wrapped"


def test_a_scenario_is_named_by_its_module_or_by_its_text() -> None:
    found = name_scenario(SCENARIO)
    assert found.target == "aexp.scenarios.resume.workflow:SCENARIO"
    assert name_scenario("resume").scenario == SCENARIO


def test_a_module_that_is_not_on_the_path_is_named_by_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tests" / "test_flows.py"
    module = ModuleType("tests.test_flows")
    module.__file__ = str(file)
    monkeypatch.setitem(sys.modules, "tests.test_flows", module)

    @DBOS.workflow()
    def elsewhere() -> None:
        return None

    elsewhere.__module__, elsewhere.__qualname__ = "tests.test_flows", "elsewhere"
    original = getattr(elsewhere, "__orig_func", elsewhere)
    original.__qualname__ = "elsewhere"
    module.elsewhere = elsewhere  # type: ignore[attr-defined]
    assert name_scenario(elsewhere).target == f"{file}:elsewhere"
    assert name_scenario(elsewhere).place == f"{file}:elsewhere"


def test_what_no_module_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    workflow = wrapped
    monkeypatch.delattr(sys.modules[__name__], "wrapped")
    with pytest.raises(InvalidTarget, match="give it a name at the top of that module"):
        name_scenario(workflow)


def test_arguments_are_bound_as_a_call_binds_them() -> None:
    found = name_scenario(named_ship)
    day = date(2026, 11, 27)
    parameters = bind_parameters(found, ("A17", 1, 2), {"day": day, "colour": "red"})
    assert parameters.model_dump() == {
        "order": "A17",
        "parts": [1, 2],
        "day": day,
        "marks": {"colour": "red"},
    }


@pytest.mark.parametrize(
    ("args", "kwargs", "told"),
    [
        ((), {}, "missing a required argument: 'order'"),
        (("A17",), {"order": "A18"}, "multiple values for argument 'order'"),
    ],
)
def test_what_cannot_be_bound_is_told(
    args: tuple[str, ...], kwargs: dict[str, str], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        bind_parameters(name_scenario(named_ship), args, kwargs)


def test_a_scenario_takes_its_parameters_by_name() -> None:
    found = name_scenario(SCENARIO)
    assert bind_parameters(found, (), {"messages": 3}).model_dump()["messages"] == 3
    with pytest.raises(UsageError, match="takes its parameters by name"):
        bind_parameters(found, (3,), {})


def test_a_value_that_arrives_as_another_is_refused() -> None:
    with pytest.raises(UsageError, match=r"value=\(1, 2\) would reach the workflow as \[1, 2\]"):
        bind_parameters(name_scenario(wrapped), ((1, 2),), {})
