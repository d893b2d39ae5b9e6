"""Workflows as most code that uses DBOS has them: sync, on classes, with arguments of any kind."""

from __future__ import annotations

import math
import threading
from collections.abc import AsyncIterator

from dbos import DBOS, DBOSConfiguredInstance, SetWorkflowID

POLL_S = 0.05


@DBOS.step()
def note(item: object) -> object:
    return item


@DBOS.workflow()
def leaf(number: int) -> object:
    DBOS.sleep(0.05)
    return note(number)


@DBOS.workflow()
def branch(number: int) -> int:
    handles = [DBOS.start_workflow(leaf, number) for _ in range(2)]
    return sum(int(str(handle.get_result(polling_interval_sec=POLL_S))) for handle in handles)


@DBOS.workflow()
def tree(branches: int = 4) -> int:
    """Wait in a thread for each branch, which waits in a thread for each leaf."""
    handles = [DBOS.start_workflow(branch, number) for number in range(branches)]
    DBOS.set_event("started", branches)
    return sum(handle.get_result(polling_interval_sec=POLL_S) for handle in handles)


@DBOS.workflow()
def listener() -> object:
    return DBOS.recv("go", timeout_seconds=60)


@DBOS.workflow()
def talk() -> object:
    """Send a message to a child that waits for it."""
    child = f"{DBOS.workflow_id}-listener"
    with SetWorkflowID(child):
        handle = DBOS.start_workflow(listener)
    DBOS.send(child, "hello", topic="go")
    return handle.get_result(polling_interval_sec=POLL_S)


@DBOS.workflow()
def sleeper(seconds: float = 3600.0) -> object:
    note("asleep")
    DBOS.sleep(seconds)
    return note("awake")


@DBOS.dbos_class("any_flows.Shop")
class Shop(DBOSConfiguredInstance):
    @DBOS.workflow(name="any_flows.serve")
    def serve(self, customers: int = 2) -> list[object]:
        return [note(f"{self.config_name}-{customer}") for customer in range(customers)]

    @classmethod
    @DBOS.workflow(name="any_flows.open")
    def open(cls, first: int, /, *others: int, func: str = "", **rest: str) -> list[object]:
        return [cls.__name__, note(first), list(others), func, rest]


corner = Shop("corner")


@DBOS.step()
async def words(text: str) -> AsyncIterator[str]:
    for word in text.split():
        yield word


@DBOS.workflow()
async def streams() -> list[str]:
    return [word async for word in words("to be")]


@DBOS.step()
def book() -> object:
    return DBOS.start_workflow(leaf, 1).get_result()


@DBOS.workflow()
def books() -> object:
    return book()


@DBOS.step()
def connect() -> object:
    return {"lock": threading.Lock()}


@DBOS.workflow()
def connects() -> object:
    return connect()


@DBOS.workflow()
def locks() -> object:
    return threading.Lock()


@DBOS.workflow()
def asserts() -> object:
    assert note("") == "never", "an assertion of its own"
    return None


@DBOS.workflow()
def old() -> object:
    return note(DBOS.sql_session)  # type: ignore[attr-defined]


@DBOS.workflow()
def odd(name: str = "report\0.pdf") -> object:
    note(name)
    return {"nan": math.nan, "nul": name, "half": "caf\udce9", "bytes": b"\xff", "long": 10**9000}


@DBOS.workflow()
def odd_key(name: str = "report\0.pdf") -> object:
    DBOS.set_event(name, 1)
    return name
