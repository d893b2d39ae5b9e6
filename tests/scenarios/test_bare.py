"""What a workflow that nobody wrote for aexp takes as parameters, and which cannot be run."""

from __future__ import annotations

import functools
import json
import math
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from dbos import DBOS, DBOSConfiguredInstance

from aexp.engine.registry import bind
from aexp.errors import InvalidParameter, InvalidTarget
from aexp.scenarios.bare import bare_scenario

if TYPE_CHECKING:
    from decimal import Decimal


async def unused() -> None: ...


@DBOS.workflow(name="test_bare.checkout")
async def checkout(  # type: ignore[no-untyped-def]
    shop: str,
    count: int = 2,
    *,
    gift: bool = False,
    anything=None,  # noqa: ANN001
    **rest: Any,
) -> None:
    """Check a cart out.

    More is told here.
    """


@DBOS.workflow(name="test_bare.silent")
async def silent() -> None: ...


@DBOS.workflow(name="test_bare.blocking")
def blocking(count: int) -> None: ...


@DBOS.step(name="test_bare.step")
async def step(count: int) -> None: ...


@DBOS.workflow(name="test_bare.variadic")
async def variadic(first: int, /, *counts: int, **prices: float) -> None: ...


@DBOS.workflow(name="test_bare.odd_names")
async def odd_names(_count: int, count: int = 2, *, model_config: str = "none") -> None: ...


class Cart:
    """What no JSON value can stand for."""


LOCK = threading.Lock()
CART = Cart()


@DBOS.workflow(name="test_bare.odd_defaults")
async def odd_defaults(  # type: ignore[no-untyped-def]
    rate: float = math.inf,
    pair=(1, 2),  # noqa: ANN001
    count: int = None,  # type: ignore[assignment]  # noqa: RUF013
    name: str = "report\0.pdf",
    lock: Any = LOCK,
    cart: Cart = CART,
    price: Decimal = None,  # type: ignore[assignment]  # noqa: RUF013
    items: list[int] = [],  # noqa: B006
) -> None: ...


@DBOS.workflow(name="test_bare.events")
async def events(count: int) -> AsyncIterator[int]:
    yield count


@DBOS.workflow(name="test_bare.numbers")
def numbers(count: int) -> Iterator[int]:
    yield count


def collecting(function: Callable[..., Iterator[int]]) -> Callable[..., list[int]]:
    @functools.wraps(function)
    def collected(*arguments: Any, **named: Any) -> list[int]:
        return list(function(*arguments, **named))

    return collected


@DBOS.workflow(name="test_bare.collected")
@collecting
def collected(count: int) -> Iterator[int]:
    yield count


def logging(function: Any) -> Any:
    @functools.wraps(function)
    def logged(*arguments: Any, **named: Any) -> Any:
        return function(*arguments, **named)

    return logged


@logging
@DBOS.workflow(name="test_bare.stacked")
@logging
def stacked(count: int, tries: int = 3) -> None: ...


class Stranger:
    @DBOS.workflow(name="test_bare.Stranger.serve")
    def serve(self, count: int) -> None: ...

    @classmethod
    @DBOS.workflow(name="test_bare.Stranger.open_all")
    def open_all(cls, count: int) -> None: ...


@DBOS.dbos_class("test_bare.Chain")
class Chain(DBOSConfiguredInstance):
    @DBOS.workflow(name="test_bare.Chain.serve")
    def serve(self, count: int) -> None: ...


north, south = Chain("north"), Chain("south")


@DBOS.dbos_class("test_bare.Empty")
class Empty(DBOSConfiguredInstance):
    @DBOS.workflow(name="test_bare.Empty.serve")
    def serve(self, count: int) -> None: ...


@DBOS.workflow(name="test_bare.common_names")
async def common_names(json: str = "", copy: int = 1, schema: str = "") -> None: ...


@DBOS.workflow(name="test_bare.unknown_type")
async def unknown_type(price: Decimal) -> None: ...


@DBOS.workflow(name="test_bare.unknown_result")
async def unknown_result(count: int) -> Decimal:
    raise NotImplementedError


@DBOS.workflow(name="test_bare.no_json")
async def no_json(cart: Cart) -> None: ...


@DBOS.dbos_class("test_bare.Shop")
class Shop(DBOSConfiguredInstance):
    @DBOS.workflow(name="test_bare.Shop.serve")
    async def serve(self, count: int) -> None: ...

    @classmethod
    @DBOS.workflow(name="test_bare.Shop.open_all")
    async def open_all(cls, count: int) -> None: ...

    @staticmethod
    @DBOS.workflow(name="test_bare.Shop.close")
    async def close(count: int) -> None: ...


corner_shop = Shop("corner")


def names_of(workflow: Any) -> list[str]:
    return list(bare_scenario("flow", workflow).parameters.model_fields)


def test_a_bare_workflow_takes_its_arguments() -> None:
    made = bare_scenario("checkout", checkout)

    assert (made.name, made.summary) == ("checkout", "Check a cart out.")
    assert made.workflow is checkout
    assert made.listens_to_all_queues
    read_back = made.from_text({"shop": "corner", "gift": "yes", "anything": "[5]"})
    assert read_back.model_dump() == {
        "shop": "corner",
        "count": 2,
        "gift": True,
        "anything": [5],
        "rest": {},
    }
    with pytest.raises(InvalidParameter) as raised:
        made.from_text({"shops": "2"})
    assert raised.value.problems == (
        "parameter 'shop' is missing: give --set shop=VALUE",
        "unknown parameter 'shops': it takes shop, count, gift, anything, rest",
    )


def test_a_bare_workflow_without_words_is_named_by_its_registration() -> None:
    assert bare_scenario("silent", silent).summary == "The workflow test_bare.silent."


def test_methods_take_their_arguments_but_not_their_instance() -> None:
    assert names_of(corner_shop.serve) == ["count"]
    assert bare_scenario("serve", corner_shop.serve).workflow == corner_shop.serve
    assert names_of(Shop.close) == ["count"]


def test_a_method_of_the_class_takes_no_class() -> None:
    assert names_of(Shop.open_all) == ["count"]


def test_arguments_may_have_common_names() -> None:
    assert names_of(common_names) == ["json", "copy", "schema"]


def test_a_sync_workflow_is_one() -> None:
    assert bare_scenario("flow", blocking).workflow is blocking
    assert names_of(collected) == ["count"]


def test_the_one_instance_of_a_class_is_taken() -> None:
    made = bare_scenario("serve", Shop.serve)

    assert made.workflow == corner_shop.serve
    assert bare_scenario("serve", north.serve).workflow == north.serve


def test_decorators_above_and_below_are_looked_through() -> None:
    assert names_of(stacked) == ["count", "tries"]


def arguments_of(workflow: Any, given: Mapping[str, str]) -> Any:
    """What the workflow is called with, after the parameters were stored and read again."""
    made = bare_scenario("flow", workflow)
    stored = made.from_text(given).model_dump(mode="json")
    assert stored == json.loads(json.dumps(stored, allow_nan=False))
    return bind(workflow, made.arguments(made.validate(stored)))


def test_variadic_arguments_are_a_list_and_an_object() -> None:
    given = {"first": "3", "counts": "[1, 2]", "prices": '{"tea": 1.5}'}

    assert arguments_of(variadic, given) == ((3, 1, 2), {"tea": 1.5})
    assert arguments_of(variadic, {"first": "3"}) == ((3,), {})
    with pytest.raises(InvalidParameter, match="counts"):
        arguments_of(variadic, {"first": "3", "counts": '["many"]'})


def test_arguments_may_have_names_that_pydantic_keeps_for_itself() -> None:
    given = {"_count": "1", "model_config": "fast"}

    assert arguments_of(odd_names, given) == ((1, 2), {"model_config": "fast"})
    explicit = bare_scenario("flow", odd_names).from_text(given)
    assert len(explicit.model_dump(exclude_unset=True)) == 2
    with pytest.raises(InvalidParameter) as raised:
        arguments_of(odd_names, {"counts": "1"})
    assert raised.value.problems == (
        "parameter '_count' is missing: give --set _count=VALUE",
        "unknown parameter 'counts': it takes _count, count, model_config",
    )


def test_a_default_stays_what_it_is() -> None:
    positional, named = arguments_of(odd_defaults, {})

    assert positional == (math.inf, (1, 2), None, "report\0.pdf", LOCK)
    # Those between are left to their defaults: no text can stand for a value of theirs.
    assert named == {"items": []}
    changed = arguments_of(odd_defaults, {"rate": "2", "pair": "[3]", "count": "4", "name": "x"})
    assert changed[0][:4] == (2.0, [3], 4, "x")


def test_a_number_that_is_none_comes_back_and_a_nul_is_refused() -> None:
    assert math.isnan(arguments_of(odd_defaults, {"rate": "nan"})[0][0])
    with pytest.raises(InvalidParameter, match="name holds a NUL or half of a surrogate pair"):
        arguments_of(odd_defaults, {"name": "caf\udce9"})


def test_the_type_of_the_result_does_not_matter() -> None:
    assert names_of(unknown_result) == ["count"]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (unused, "is no DBOS workflow: decorate it with @DBOS.workflow()"),
        (step, "is no DBOS workflow: decorate it with @DBOS.workflow()"),
        (Shop, "a function decorated with @DBOS.workflow()"),
        (corner_shop, "a function decorated with @DBOS.workflow()"),
        ({"not": "callable"}, "flow is dict: name an aexp Scenario or a function"),
        (None, "flow is NoneType: name an aexp Scenario or a function"),
        (functools.partial(stacked, 1), "functools.partial.*: name stacked itself"),
        (events, "flow is an async generator, whose values no checkpoint can hold"),
        (numbers, "flow is a generator, whose values no checkpoint can hold"),
        (Stranger.serve, "decorate the class with @DBOS.dbos_class"),
        (Stranger().serve, "decorate the class with @DBOS.dbos_class"),
        (Stranger.open_all, "decorate the class with @DBOS.dbos_class"),
        (Chain.serve, "FILE.py:INSTANCE.flow; there are 'north', 'south'"),
        (Empty.serve, "the module makes none when it is imported"),
        (unknown_type, "Decimal"),
        (no_json, "Cart"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_cannot_be_run_by_itself_is_refused(target: Any, reason: str) -> None:
    with pytest.raises(InvalidTarget, match=reason) as raised:
        bare_scenario("flow", target)

    assert str(raised.value).startswith("flow")
    assert "\n" not in str(raised.value)
