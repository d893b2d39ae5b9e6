"""The schedule that ticks for as long as a service is up."""

from __future__ import annotations

from aexp.errors import InvalidParameter, UsageError
from aexp.runs.host import StandingRun
from aexp.scenarios.heartbeat.workflow import SCENARIO

__all__ = ["heartbeat_of"]

# Of one run: a day's worth, as DBOS recovers a workflow a hundred times at most, and no more than a
# page bears that is drawn again at each tick.
_DAY_S = 86_400
_MOST_TICKS = 3_600


def heartbeat_of(every_s: int) -> StandingRun:
    """Describe runs of the scenario ``heartbeat`` that tick every ``every_s`` seconds; ticks that
    fall while no service is up are missed. Raises UsageError.
    """
    parameters = {"every_s": every_s, "ticks": min(_MOST_TICKS, _DAY_S // max(1, every_s))}
    try:
        SCENARIO.validate(parameters)
    except InvalidParameter as error:
        raise UsageError(f"--heartbeat {every_s}: {error.problems[0]}") from error
    return StandingRun(name=f"heartbeat-{every_s}s", scenario=SCENARIO.name, parameters=parameters)
