"""How runs stand, each in a word: for a list of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import anyio

from aexp.audit.account import audit_run
from aexp.database import DatabaseUrl
from aexp.database.connect import Connection, connected
from aexp.engine.statuses import UNFINISHED
from aexp.engine.tables.schedules import any_schedule_of
from aexp.engine.tables.workflows import any_of_version, join_status_of
from aexp.errors import ScenarioError, UsageError
from aexp.model.run import Run
from aexp.model.scenario import Scenario
from aexp.runs.store import STATUS, list_runs
from aexp.scenarios import find_scenario

__all__ = ["RunVerdict", "Standing", "find_scenarios", "judge_runs", "list_standings"]

RunVerdict = Literal["held", "broken", "not judged", "unknown"]

# What the schedules of a run end in.
_SUFFIX = "('.' || run_id)"
# Audits at a time; each takes a connection, and a thread in which DBOS looks up the result.
_AT_A_TIME = 4
# A run of a million messages takes seconds to judge, and there may be many.
_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Standing:
    """A run and its status: DBOS's own for its root workflow, or ``NOT STARTED``.

    It ``has_ended`` when neither a workflow nor a schedule of it has something left to do, and
    nobody has cancelled it.
    """

    run: Run
    status: str
    has_ended: bool


async def list_standings(connection: Connection, limit: int) -> Sequence[Standing]:
    """List the ``limit`` newest runs, newest first."""
    runs = await list_runs(connection, limit)
    rows = await connection.fetch(
        f"SELECT run_id, {STATUS} AS status,"  # noqa: S608 - our own words
        f" {STATUS} <> ALL($2::text[] || '{{NOT STARTED, CANCELLED}}'::text[])"
        f"  AND NOT {any_of_version('runs.application_version', '$2::text[]')}"
        f"  AND NOT {any_schedule_of(_SUFFIX)} AS has_ended"
        f" FROM aexp.runs {join_status_of('run_id')}"
        " WHERE run_id = ANY($1::text[])",
        [run.run_id for run in runs],
        UNFINISHED,
    )
    found = {row["run_id"]: row for row in rows}
    return [
        Standing(run, found[run.run_id]["status"], found[run.run_id]["has_ended"])
        for run in runs
        # One that was deleted in between stands no more.
        if run.run_id in found
    ]


def find_scenarios(standings: Iterable[Standing]) -> Mapping[str, Scenario[Any]]:
    """Load, by target, the scenarios of runs that have ended, as far as they can be loaded.

    Imports modules: call it where no event loop runs.
    """
    found: dict[str, Scenario[Any]] = {}
    for target in {standing.run.target for standing in standings if standing.has_ended}:
        try:
            _, found[target] = find_scenario(target)
        except UsageError:
            # A user's module that was moved, or a scenario that is no longer installed.
            continue
    return found


async def judge_runs(
    url: DatabaseUrl,
    standings: Sequence[Standing],
    scenarios: Mapping[str, Scenario[Any]],
    *,
    patience_s: float = _PATIENCE_S,
) -> Mapping[str, RunVerdict]:
    """Return, by run id, what an audit finds of each run.

    One that has not ended is ``not judged``; ``unknown`` is one whose scenario is not among
    ``scenarios``, which cannot read its evidence any more, or is not judged within ``patience_s``.
    """
    outcomes: dict[str, RunVerdict] = {
        standing.run.run_id: "unknown" if standing.has_ended else "not judged"
        for standing in standings
    }
    limiter = anyio.CapacityLimiter(_AT_A_TIME)

    async def judge(run: Run, scenario: Scenario[Any]) -> None:
        async with limiter, connected(url, read_only=True) as connection:
            try:
                report = await audit_run(url, connection, run, scenario)
            except (ScenarioError, UsageError):
                return
            outcomes[run.run_id] = report.verdict

    with anyio.move_on_after(patience_s):
        async with anyio.create_task_group() as group:
            for standing in standings:
                scenario = scenarios.get(standing.run.target)
                if standing.has_ended and scenario is not None:
                    group.start_soon(judge, standing.run, scenario)
    return outcomes
