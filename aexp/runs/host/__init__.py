"""Many runs at a time for a service: each in a process of its own, watched and controlled.

A run that the service began is the service's until it has ended: it goes on with it when it starts
again, whatever had ended it. What befalls a run is written down in order, see :class:`RunEvent`.
"""

from aexp.runs.host.events import RunEvent
from aexp.runs.host.executors import Executor, HandedOver, hand_over, list_executors, release_claims
from aexp.runs.host.forks import may_be_forked
from aexp.runs.host.host import Host
from aexp.runs.host.opening import open_host
from aexp.runs.host.standing_run import StandingRun

__all__ = [
    "Executor",
    "HandedOver",
    "Host",
    "RunEvent",
    "StandingRun",
    "hand_over",
    "list_executors",
    "may_be_forked",
    "open_host",
    "release_claims",
]
