"""Two experiments are compared as if their runs had one id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from aexp.crash.experiment.relative import make_relative

RUN_ID = "crash-ab12-1"


@dataclass(frozen=True, slots=True)
class Receipt:
    key: str
    amount: int = 1

    def __post_init__(self) -> None:
        assert self.amount


class Order(BaseModel):
    keys: list[str]


@pytest.mark.parametrize(
    ("value", "relative"),
    [
        (RUN_ID, "~"),
        (f"pay:{RUN_ID}-0-1", "pay:~-0-1"),
        ([RUN_ID, (f"{RUN_ID}.2",), {f"{RUN_ID}:1"}], ["~", ("~.2",), {"~:1"}]),
        ({RUN_ID: {"child": f"{RUN_ID}-1"}}, {"~": {"child": "~-1"}}),
        (Receipt(f"{RUN_ID}-1"), Receipt("~-1")),
        (Order(keys=[RUN_ID]), Order(keys=["~"])),
    ],
)
def test_the_id_is_replaced_wherever_it_stands(value: Any, relative: Any) -> None:
    assert make_relative(value, RUN_ID) == relative


@pytest.mark.parametrize(
    "value",
    [
        "crash-ab12-11", "xcrash-ab12-1", "crash-ab12", 7, None, [1, "other"], {"a": ("b",)},
        Receipt("other"), Order(keys=["other"]), Receipt,
    ],
)  # fmt: skip
def test_what_has_another_id_or_none_is_the_same_object(value: Any) -> None:
    assert make_relative(value, RUN_ID) is value


def test_an_address_is_as_good_as_the_name_of_it() -> None:
    stubs = {"127.0.0.1:4711": "SHOP_URL", "127.0.0.1:471": "BANK_URL"}
    said = ["http://127.0.0.1:4711/a", "127.0.0.1:471", "127.0.0.1:47111", f"{RUN_ID}:4711"]
    relative = ["http://SHOP_URL/a", "BANK_URL", "127.0.0.1:47111", "~:4711"]
    assert make_relative(said, RUN_ID, stubs) == relative


def test_a_value_that_contains_itself_is_no_endless_one() -> None:
    value: list[Any] = [RUN_ID]
    value.append(value)
    assert make_relative(value, RUN_ID)[0] == "~"
