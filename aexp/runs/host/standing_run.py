"""A run that is there for as long as a host lives, and after it the next one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from aexp.runs.host.host import Host
from aexp.runs.host.periodic import repeat

__all__ = ["StandingRun", "maintain"]

log = structlog.stdlib.get_logger("aexp.runs.host")


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingRun:
    """A run of ``scenario`` that goes on, followed by another when it ends.

    Their ids are ``NAME-n1``, ``NAME-n2`` … Hosts that keep the same name on one
    database share its run.
    """

    name: str
    scenario: str
    parameters: Mapping[str, Any]

    @property
    def stem(self) -> str:
        """What their ids begin with."""
        return f"{self.name}-n"


async def maintain(host: Host, standing: StandingRun) -> None:
    """Go on with the newest run of ``standing``, begin the next one when it has ended well, until
    cancelled.

    One that was cancelled or ended otherwise is left alone, so that it can be looked at: once it is
    resumed it goes on, and once it is deleted another begins.
    """
    left_alone = None

    async def see_to_one() -> None:
        nonlocal left_alone
        run_id, goes_on = await _ensure_one(host, standing)
        if not goes_on and left_alone != run_id:
            log.warning("host.standing_run_left_alone", run_id=run_id)
        left_alone = None if goes_on else run_id
        await host.wait(run_id)

    await repeat(see_to_one, "host.standing_run_failed", standing_run=standing.name)


async def _ensure_one(host: Host, standing: StandingRun) -> tuple[str, bool]:
    """Ensure that a run is there; return its id, and whether it goes on."""
    newest = await host.newest(standing.stem)
    if newest.run is None or newest.well:
        run_id, parameters = f"{standing.stem}{newest.free}", standing.parameters
    elif newest.goes_on:
        run_id, parameters = newest.run.run_id, newest.run.parameters
    else:
        return newest.run.run_id, False
    await host.start(standing.scenario, parameters, run_id=run_id, standing=True)
    return run_id, True
