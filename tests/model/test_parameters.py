"""Parameters: how texts become values, and what wrong ones are told."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError, field_validator, model_validator

from aexp.errors import InvalidParameter
from aexp.model.parameters import Parameters
from aexp.model.scenario import Scenario

if TYPE_CHECKING:
    pass


class Size(Enum):
    SMALL = "small"
    NULL = "null"


class Order(Parameters):
    """One parameter of each kind."""

    count: int = 1
    price: float = 1.0
    gift: bool = False
    note: str = ""
    short: Annotated[str, Field(max_length=9)] = ""
    remark: str | None = "unset"
    limit: int | None = 7
    size: Size = Size.SMALL
    tier: Literal[1, 2] = 1
    file: Path | None = None
    items: list[int] = Field(default=[])
    prices: dict[str, float] = Field(default={})
    pair: tuple[int, str] = (0, "")
    either: int | list[int] = 0
    anything: Any = None


async def unused() -> None: ...


def scenario(model: type[Parameters]) -> Scenario[None]:
    return Scenario(name="order", summary="", workflow=unused, parameters=model)


def read(model: type[Parameters], **texts: str) -> Any:
    return scenario(model).from_text(texts)


def problems(model: type[Parameters], **texts: str) -> tuple[str, ...]:
    with pytest.raises(InvalidParameter) as raised:
        read(model, **texts)
    assert "\n" not in str(raised.value)
    return raised.value.problems


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("count", "5", 5),
        ("count", "-5", -5),
        ("count", "5.0", 5),
        ("price", "5", 5.0),
        ("price", "1e3", 1000.0),
        ("gift", "true", True),
        ("gift", "no", False),
        ("gift", "1", True),
        ("limit", "3", 3),
        ("limit", "null", None),
        ("size", "small", Size.SMALL),
        ("size", "null", Size.NULL),
        ("tier", "2", 2),
        ("file", "in.jsonl", Path("in.jsonl")),
        ("file", "[1].jsonl", Path("[1].jsonl")),
        ("file", "null", None),
        ("items", "[1, 2]", [1, 2]),
        ("items", "[]", []),
        ("prices", '{"a": 1.5}', {"a": 1.5}),
        ("pair", '[1, "a"]', (1, "a")),
        ("either", "4", 4),
        ("either", "[4]", [4]),
        ("anything", "5", 5),
        ("anything", "true", True),
        ("anything", '{"a": [null]}', {"a": [None]}),
        ("anything", "plain words", "plain words"),
    ],
)
def test_a_text_is_read_as_the_field_says(name: str, text: str, value: Any) -> None:
    found = getattr(read(Order, **{name: text}), name)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["5", "true", "[1]", '{"a": 1}', '"quoted"', "no", "", " x "])
@pytest.mark.parametrize("name", ["note", "short", "remark"])
def test_a_string_stays_as_it_is_written(name: str, text: str) -> None:
    assert getattr(read(Order, **{name: text}), name) == text


def test_null_is_a_word_for_a_string_and_nothing_for_an_optional_one() -> None:
    order = read(Order, note="null", remark="null")

    assert (order.note, order.remark) == ("null", None)


def test_what_is_not_given_has_its_default() -> None:
    assert read(Order) == Order()


def test_parameters_do_not_change() -> None:
    order = read(Order, count="5")

    with pytest.raises(ValidationError, match="frozen"):
        order.count = 6


class Strict(Parameters):
    """What each kind of problem needs."""

    shop: str
    count: int = 1
    code: str = Field("", max_length=3)
    until: int | None = None
    sure: bool = True

    @field_validator("shop")
    @classmethod
    def _known(cls, value: str) -> str:
        if value == "closed":
            raise ValueError("This shop is closed")
        return value

    @model_validator(mode="after")
    def _in_order(self) -> Strict:
        if self.until is not None and self.until < self.count:
            raise ValueError("until must not be below count")
        return self


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        ({}, "parameter 'shop' is missing: give --set shop=VALUE"),
        (
            {"shop": "a", "cuont": "1"},
            "unknown parameter 'cuont': it takes shop, count, code, until, sure",
        ),
        (
            {"shop": "a", "code": "long"},
            "parameter code='long': string should have at most 3 characters",
        ),
        (
            {"shop": "a", "sure": "perhaps"},
            "parameter sure='perhaps': input should be a valid boolean, unable to interpret input",
        ),
        ({"shop": "closed"}, "parameter shop='closed': this shop is closed"),
        ({"shop": "a", "count": "5", "until": "3"}, "until must not be below count"),
    ],
)
def test_a_problem_says_what_is_wrong(texts: dict[str, str], problem: str) -> None:
    assert problems(Strict, **texts) == (problem,)


def test_a_scenario_without_parameters_takes_none() -> None:
    assert problems(Parameters, size="1") == ("unknown parameter 'size': it takes none",)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("items", "1,2"),
        ("items", "[1,"),
        ("items", '{"a": 1}'),
        pytest.param("items", "[" * 100_000, id="items-nested deeply"),
        ("prices", '{"a": "dear"}'),
        ("gift", "perhaps"),
        ("limit", "none"),
        ("tier", "3"),
        ("short", "ten letters"),
    ],
)
def test_a_value_of_another_kind_is_a_problem_of_its_field(name: str, text: str) -> None:
    (problem,) = problems(Order, **{name: text})

    assert problem.startswith(f"parameter {name}")


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(InvalidParameter) as raised:
        read(Strict, count="x", until="y", colour="red")

    error = raised.value
    assert error.scenario == "order"
    assert [problem.split(":")[0] for problem in error.problems] == [
        "parameter 'shop' is missing",
        "parameter count='x'",
        "parameter until='y'",
        "unknown parameter 'colour'",
    ]
    assert str(error).startswith("; ".join(error.problems))
    assert "`aexp describe`" in str(error)
    assert error.exit_code == 2


def test_values_of_a_recorded_run_are_checked_in_the_same_way() -> None:
    given = {"count": 2, "items": [1], "remark": None}

    assert scenario(Order).validate(given) == Order(count=2, items=[1], remark=None)
    with pytest.raises(InvalidParameter):
        scenario(Order).validate({"items": "[1]"})


def test_a_scenario_may_name_the_type_of_its_evidence() -> None:
    assert Scenario[int](name="order", summary="", workflow=unused) == Scenario(
        name="order", summary="", workflow=unused
    )
