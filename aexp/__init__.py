"""A laboratory for durable asyncio: run DBOS workflows, kill them, resume them, account for all.

Names are imported when they are first used, since DBOS alone takes half a second.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aexp.database.connect import Connection
    from aexp.durable.effect import effect
    from aexp.durable.exactly_once import Transaction, exactly_once
    from aexp.durable.fan_out import ChildFailed, fan_out
    from aexp.durable.ledger import record_body, record_event
    from aexp.durable.schedules import Schedule
    from aexp.engine.runtime import Queue, Runtime, current_runtime
    from aexp.model.parameters import Parameters
    from aexp.model.promise import Anomaly, Promise
    from aexp.model.run import Ending, Run
    from aexp.model.scenario import Scenario
    from aexp.processes.progress import Reached

__version__ = "0.1.0"

__all__ = [
    "Anomaly",
    "ChildFailed",
    "Connection",
    "Ending",
    "Parameters",
    "Promise",
    "Queue",
    "Reached",
    "Run",
    "Runtime",
    "Scenario",
    "Schedule",
    "Transaction",
    "current_runtime",
    "effect",
    "exactly_once",
    "fan_out",
    "record_body",
    "record_event",
]

_HOMES = {
    "Anomaly": "aexp.model.promise",
    "ChildFailed": "aexp.durable.fan_out",
    "Connection": "aexp.database.connect",
    "Ending": "aexp.model.run",
    "Parameters": "aexp.model.parameters",
    "Promise": "aexp.model.promise",
    "Queue": "aexp.engine.runtime",
    "Reached": "aexp.processes.progress",
    "Run": "aexp.model.run",
    "Runtime": "aexp.engine.runtime",
    "Scenario": "aexp.model.scenario",
    "Schedule": "aexp.durable.schedules",
    "Transaction": "aexp.durable.exactly_once",
    "current_runtime": "aexp.engine.runtime",
    "effect": "aexp.durable.effect",
    "exactly_once": "aexp.durable.exactly_once",
    "fan_out": "aexp.durable.fan_out",
    "record_body": "aexp.durable.ledger",
    "record_event": "aexp.durable.ledger",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'aexp' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
