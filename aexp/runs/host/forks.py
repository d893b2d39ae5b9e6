"""What a service may fork, and what it may not delete because of a fork."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aexp.database.connect import Connection
from aexp.engine.registry import UNFINISHED
from aexp.engine.runtime import application_version
from aexp.engine.tables.steps import last_step
from aexp.engine.tables.workflows import join_status_of
from aexp.errors import ForkRefused, InvalidParameter, RunUnfinished, UnknownScenario
from aexp.model.run import Run
from aexp.model.run_ids import check_run_id, new_run_id
from aexp.model.scenario import Scenario
from aexp.runs.execution import has_ended
from aexp.runs.store import get_run

__all__ = ["may_be_forked", "plan_fork", "refuse_when_needed"]

# The run's forks, theirs, and so on: each may read what the first one's children returned. One that
# was cancelled before it had a workflow is no longer hosted.
_NEEDING = f"""
    WITH RECURSIVE forks AS (
        SELECT run_id, hosted FROM aexp.runs WHERE forked_from = $1
        UNION
        SELECT runs.run_id, runs.hosted FROM aexp.runs JOIN forks ON forked_from = forks.run_id
    )
    SELECT run_id FROM forks {join_status_of("run_id")}
    WHERE (status IS NULL AND hosted) OR status = ANY($2::text[]) LIMIT 1
"""  # noqa: S608 - our own words


async def plan_fork(
    connection: Connection,
    scenarios: Mapping[str, Scenario[Any]],
    origin_id: str,
    start_step: int,
    run_id: str | None,
) -> Run:
    """Plan the fork of the run ``origin_id`` that begins anew at ``start_step``: not recorded yet.

    Raises UnknownRun, UnknownScenario, ForkRefused, and RunUnfinished: a fork waits for children
    that only the other run's process would see to their end.
    """
    origin = await get_run(connection, origin_id)
    scenario = _forkable(scenarios, origin)
    if not await has_ended(connection, origin):
        raise RunUnfinished(origin.run_id)
    last = await last_step(connection, origin.run_id)
    if not 1 <= start_step <= last + 1:
        raise ForkRefused(origin.run_id, f"start_step is from 1 to {last + 1}, not {start_step}")
    new_id = check_run_id(run_id) if run_id is not None else new_run_id(scenario.name)
    return replace(
        origin,
        run_id=new_id,
        application_version=application_version(new_id),
        created_at=None,
        forked_from=origin.run_id,
        fork_step=start_step,
    )


async def may_be_forked(
    connection: Connection, scenarios: Mapping[str, Scenario[Any]], run: Run
) -> bool:
    """Return whether :func:`plan_fork` would plan a fork of the run, from a step that it has."""
    try:
        _forkable(scenarios, run)
    except (UnknownScenario, InvalidParameter, ForkRefused):
        return False
    return await has_ended(connection, run)


def _forkable(scenarios: Mapping[str, Scenario[Any]], origin: Run) -> Scenario[Any]:
    """Return the scenario of a run that can be forked once it has ended."""
    scenario = scenarios.get(origin.target)
    if scenario is None:
        raise UnknownScenario(origin.target, ())
    if scenario.schedules(scenario.validate(origin.parameters)):
        raise ForkRefused(
            origin.run_id, "it has schedules, and DBOS keeps forks to the application of its own"
        )
    return scenario


async def refuse_when_needed(connection: Connection, run_id: str) -> None:
    """Raise RunUnfinished when a fork of the run has not ended."""
    fork = await connection.fetchval(_NEEDING, run_id, UNFINISHED)
    if fork is not None:
        raise RunUnfinished(fork)
