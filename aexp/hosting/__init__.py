"""Many runs at a time for a service: each in a process of its own, watched and controlled.

A run that the service began is the service's until it has ended: it goes on with it when it starts
again, whatever had ended it. What befalls a run is written down in order, see :class:`RunEvent`.
"""

from aexp.hosting.executors import (
    Executor,
    HandedOver,
    hand_over,
    list_executors,
    release_claims,
)
from aexp.hosting.forks import may_be_forked
from aexp.hosting.host import Host
from aexp.hosting.journal import RunEvent
from aexp.hosting.keeping import Kept
from aexp.hosting.opening import open_host

__all__ = [
    "Executor",
    "HandedOver",
    "Host",
    "Kept",
    "RunEvent",
    "hand_over",
    "list_executors",
    "may_be_forked",
    "open_host",
    "release_claims",
]
