"""One run of a workflow, whose process is killed at moments that a seed draws."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace

from pydantic import BaseModel

from aexp.audit import Report, audit_run
from aexp.database import DatabaseUrl
from aexp.database.connect import connected
from aexp.engine.runtime import application_version
from aexp.errors import UsageError
from aexp.model.run import Run
from aexp.model.run_ids import new_run_id
from aexp.model.scenario import scenario_code
from aexp.processes.progress import Snapshot
from aexp.processes.signals import Stop
from aexp.runs.kill_plan import KillPlan
from aexp.runs.run_processes import open_run_processes
from aexp.runs.store import begin_run
from aexp.runs.supervisor import Supervisor
from aexp.settings import Settings
from aexp.testing.naming import NamedScenario

__all__ = ["RunBroken", "check_report", "run_killed"]


class RunBroken(AssertionError):
    """A run did not come to a good end, broke a promise, or was killed less often than asked."""

    def __init__(self, report: Report, told: str) -> None:
        super().__init__(told)
        self.report = report


async def run_killed(
    named: NamedScenario,
    parameters: BaseModel,
    settings: Settings,
    url: DatabaseUrl,
    stop: Stop,
    *,
    kills: int,
    seed: int,
) -> Report:
    """Run in a process that is killed and started again so many times, in the database at ``url``,
    and audit the run.

    Raises UsageError for a number of kills below none, WorkerFailed when a process ends on its own.
    """
    if kills < 0:
        raise UsageError(f"kills={kills}: give how often its process is to be killed, from 0 on")
    scenario = named.scenario
    with scenario_code(scenario, "facts"):
        facts = await scenario.facts(parameters)
    run_id = new_run_id(scenario.name)
    wanted = Run(
        run_id=run_id,
        scenario=scenario.name,
        target=named.target,
        parameters=parameters.model_dump(mode="json"),
        facts={},
        application_version=application_version(run_id),
    )
    async with connected(url) as connection:
        begun = await begin_run(connection, replace(wanted, facts=facts))
    plan = KillPlan(kills, seed, scenario.steps(parameters, facts))
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    async with open_run_processes(url, environment=path) as processes:
        supervisor = Supervisor(begun, settings, url, processes, plan, _watch_nothing)
        supervision = await supervisor.supervise(stop)
    extra = {"kills": {"asked": kills, "landed": supervision.landed, "seed": seed}}
    async with connected(url) as connection:
        return await audit_run(
            url, connection, begun, scenario, extra=extra, settings=settings.echo()
        )


def check_report(report: Report) -> None:
    """Raise RunBroken unless the run ended well, with every promise held and all kills landed."""
    problems = list(_problems(report))
    if problems:
        raise RunBroken(report, "\n".join([f"{report.run.scenario}  BROKEN", *problems]))


def _problems(report: Report) -> Iterator[str]:
    if report.status != "SUCCESS":
        yield f"the workflow ended in {report.status}: {report.result}"
    for verdict in report.verdicts:
        for anomaly in verdict.anomalies or ():
            yield f"{verdict.name}: {verdict.statement}\n  {anomaly.summary}"
    kills = report.account["kills"]
    if kills["landed"] < kills["asked"]:
        yield (
            f"only {kills['landed']} of {kills['asked']} kills landed before the run ended: give it"
            " more to do, or another seed"
        )


def _watch_nothing(_restarts: int, _state: Snapshot) -> None:
    return
