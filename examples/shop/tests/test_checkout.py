"""Whatever moment a crash comes at: an order is paid once, shipped once, and never lost."""

from pathlib import Path

from aexp.testing import Aexp

from shop.checkout import checkout

HERE = Path(__file__).parent


async def test_an_order_is_paid_and_shipped_once(aexp: Aexp) -> None:
    payments = {"PAYMENTS_URL": HERE / "payments.yaml"}
    explored = await aexp.crash(checkout, "A17", "mug", pieces=2, http=payments)
    assert explored.outcome == "paid"


async def test_a_declined_order_goes_back_to_the_shelf(aexp: Aexp) -> None:
    payments = {"PAYMENTS_URL": HERE / "declined.yaml"}
    explored = await aexp.crash(checkout, "A17", "mug", http=payments)
    assert explored.outcome == "declined"


async def test_who_orders_too_much_pays_nothing(aexp: Aexp) -> None:
    # There is no stub: a charge would end the workflow in an error.
    explored = await aexp.crash(checkout, "A17", "mug", pieces=4)
    assert explored.outcome == "sold out"
