"""aexp in somebody's own test suite: under pytest by the fixture ``aexp``, elsewhere by functions.

Names are imported when they are first used: pytest loads the plugin of this package in every suite.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aexp.audit import Report
    from aexp.crash.http.routes import HttpAnswer, HttpRoute
    from aexp.crash.http.stub import HttpStub
    from aexp.crash.results import Exploration, PromisesBroken
    from aexp.testing.explorations import (
        Explorations,
        explore,
        explore_sync,
        open_explorations,
        run,
        run_sync,
    )
    from aexp.testing.fixture import Aexp
    from aexp.testing.runs import RunBroken

__all__ = [
    "Aexp",
    "Exploration",
    "Explorations",
    "HttpAnswer",
    "HttpRoute",
    "HttpStub",
    "PromisesBroken",
    "Report",
    "RunBroken",
    "explore",
    "explore_sync",
    "open_explorations",
    "run",
    "run_sync",
]

_HOMES = {
    "Aexp": "aexp.testing.fixture",
    "Exploration": "aexp.crash.results",
    "Explorations": "aexp.testing.explorations",
    "HttpAnswer": "aexp.crash.http.routes",
    "HttpRoute": "aexp.crash.http.routes",
    "HttpStub": "aexp.crash.http.stub",
    "PromisesBroken": "aexp.crash.results",
    "Report": "aexp.audit",
    "RunBroken": "aexp.testing.runs",
    "explore": "aexp.testing.explorations",
    "explore_sync": "aexp.testing.explorations",
    "open_explorations": "aexp.testing.explorations",
    "run": "aexp.testing.explorations",
    "run_sync": "aexp.testing.explorations",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'aexp.testing' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
