"""A checkout as one might write it first. `pytest --show-broken` shows what is wrong with it."""

import os
from pathlib import Path

import aiohttp
import pytest
from aexp.testing import Aexp
from dbos import DBOS

from shop.checkout import confirm
from shop.database import connect

HERE = Path(__file__).parent


@DBOS.step()
async def charge_without_key(order: str) -> str:
    """Charge, and charge again if the process is killed before the step is recorded."""
    async with (
        aiohttp.ClientSession(os.environ["PAYMENTS_URL"]) as session,
        session.post("/charges", json={"order": order}) as response,
    ):
        return str((await response.json())["id"])


@DBOS.workflow()
async def hasty_checkout(order: str) -> str:
    """Take a mug in the workflow's body, which runs again after each crash, and charge."""
    async with await connect() as connection:
        await connection.execute("UPDATE stock SET pieces = pieces - 1 WHERE item = 'mug'")
    await confirm(order, await charge_without_key(order))
    return "paid"


@pytest.mark.broken
async def test_a_hasty_checkout_survives_a_crash(aexp: Aexp) -> None:
    await aexp.crash(hasty_checkout, "A17", http={"PAYMENTS_URL": HERE / "payments.yaml"})
