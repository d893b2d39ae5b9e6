"""How far a run has come, whichever executor did it: counted in the database, at a bounded cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
import asyncpg
import structlog

from aexp.database.connect import borrowed
from aexp.database.retry import is_connection_error
from aexp.errors import ScenarioError
from aexp.model.run import Run
from aexp.model.scenario import Scenario, scenario_code
from aexp.processes.progress import Reached
from aexp.runs.leases import has_others

__all__ = ["RunCounts"]

log = structlog.stdlib.get_logger("aexp.runs.host")


class RunCounts:
    """Counts what runs of ``scenarios`` have done."""

    def __init__(
        self, pool: asyncpg.Pool[asyncpg.Record], scenarios: Mapping[str, Scenario[Any]]
    ) -> None:
        self._pool = pool
        self._scenarios = scenarios

    async def reached(self, run: Run, within_s: float) -> Reached | None:
        """Return how far ``run`` has come; None when that cannot be told, or not ``within_s``: then
        the server is told to leave it.
        """
        scenario = self._scenarios.get(run.target)
        if scenario is None or scenario.reached is None:
            return None
        try:
            with anyio.move_on_after(within_s):
                async with borrowed(self._pool) as connection:
                    with scenario_code(scenario, "reached"):
                        return await scenario.reached(connection, run)
        except Exception as error:
            # What is shown of a run is no reason to give it up.
            if not isinstance(error, ScenarioError) and not is_connection_error(error):
                raise
            log.warning("host.count_failed", run_id=run.run_id, error=str(error))
        return None

    async def is_shared(self, run: Run, executor_id: str) -> bool:
        """Return whether other executors work on ``run``, too; False when nobody can tell."""
        try:
            async with borrowed(self._pool) as connection:
                return await has_others(connection, run.run_id, executor_id)
        except Exception as error:
            if not is_connection_error(error):
                raise
            return False
