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
from aexp.hosting.host import Host, open_host
from aexp.hosting.journal import RunEvent

__all__ = [
    "Executor",
    "HandedOver",
    "Host",
    "RunEvent",
    "hand_over",
    "list_executors",
    "open_host",
    "release_claims",
]
