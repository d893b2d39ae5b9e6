"""Suites of somebody's own, as texts, and how they are run."""

from __future__ import annotations

import pytest

from aexp.database import DatabaseUrl

__all__ = ["WORKFLOWS", "run"]

# At the top of a module, as users write them.
WORKFLOWS = """
from dbos import DBOS, DBOSConfiguredInstance


@DBOS.step()
async def reserve(order: str, items: int) -> str:
    return f"{order}: {items}"


@DBOS.workflow()
async def checkout(order: str, items: int = 1) -> str:
    return await reserve(order, items)


@DBOS.step()
def count(order: str) -> int:
    return len(order)


@DBOS.workflow()
def measure(order: str) -> int:
    return count(order)


@DBOS.dbos_class()
class Shelf(DBOSConfiguredInstance):
    def __init__(self, name: str) -> None:
        super().__init__(config_name=name)
        self.name = name

    @DBOS.workflow()
    async def store(self, order: str) -> str:
        return f"{self.name} {await reserve(order, 1)}"


shelf = Shelf("upper")

"""


def run(pytester: pytest.Pytester, server: DatabaseUrl, *arguments: str) -> pytest.RunResult:
    """Run the suite of ``pytester``, in processes of its own, on ``server``."""
    return pytester.runpytest_subprocess(
        f"--aexp-database-url={server.with_name('postgres').libpq}",
        "-o", "asyncio_default_fixture_loop_scope=function",
        *arguments,
    )  # fmt: skip
