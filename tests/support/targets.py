"""Modules that tests write and name as targets."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from aexp.errors import InvalidTarget
from aexp.scenarios import find_scenario

__all__ = ["FLOWS", "refused", "write"]

FLOWS = """
    from dbos import DBOS, DBOSConfiguredInstance
    from aexp.model.scenario import Scenario

    LIMIT = 3

    @DBOS.workflow()
    async def checkout(cart: str, tries: int = LIMIT) -> None:
        "Check a cart out."

    async def undecorated() -> None: ...

    @DBOS.workflow()
    def blocking() -> None: ...

    @DBOS.dbos_class()
    class Shop(DBOSConfiguredInstance):
        @DBOS.workflow()
        async def serve(self, customers: int) -> None: ...

    shop = Shop("corner")

    class Flows:
        story = Scenario(name="story", summary="A story.", workflow=checkout)
"""


def write(path: str, text: str = FLOWS) -> Path:
    """Write a module below the working folder, which is the test's own."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(dedent(text), encoding="utf-8")
    return file.absolute()


def refused(target: str) -> str:
    """The one line that says why ``target`` is no scenario."""
    with pytest.raises(InvalidTarget) as raised:
        find_scenario(target)
    assert "\n" not in str(raised.value)
    return str(raised.value)
