"""Deliveries: a sync workflow, in a sync test."""

import psycopg
from aexp.testing import Aexp

from shop.stock import restock


def test_a_delivery_is_counted_once(aexp: Aexp) -> None:
    # A database of this test alone, where what it needs besides is made.
    with psycopg.connect(aexp.database) as connection:
        connection.execute("INSERT INTO stock VALUES ('plate', 1)")
    aexp.crash_sync(restock, {"mug": 5, "plate": 2})
