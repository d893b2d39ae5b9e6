"""All that is told of one run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aexp.audit import Report, audit_run
from aexp.database.connect import Connection, borrowed
from aexp.log import masked
from aexp.model.plain import plain
from aexp.model.run import Run
from aexp.runs.execution import absent_executors
from aexp.runs.host import may_be_forked
from aexp.service.queries import read_progress, read_status
from aexp.service.schemas import Absent, ForkOrigin, RunDetail, RunProgress
from aexp.service.state import Service

__all__ = ["audit", "describe_run"]

# A client waits for a count no longer than that.
_COUNT_WITHIN_S = 0.5


async def describe_run(service: Service, run: Run, *, with_report: bool = True) -> RunDetail:
    """Describe a run as it stands now."""
    host = service.host
    status, ended = await read_status(host.pool, run.run_id)
    report, ok = await _report(service, run) if with_report else (None, None)
    return RunDetail(
        run_id=run.run_id,
        scenario=run.scenario,
        status=status or "NOT STARTED",
        active=not host.is_settled(run.run_id),
        created_at=run.created_at,
        parameters=dict(run.parameters),
        forked_from=ForkOrigin(run_id=run.forked_from, start_step=run.fork_step)
        if run.forked_from is not None and run.fork_step is not None
        else None,
        ended=ended,
        forkable=ended and await _forkable(service, run),
        progress=await _progress(service, run),
        kills=await host.journal.kills(run.run_id),
        waiting_for=[
            Absent(executor_id=name, workflows=workflows)
            for name, workflows in sorted((await _absent(service, run, ended=ended)).items())
        ],
        ok=ok if ended else None,
        report=report,
    )


async def _progress(service: Service, run: Run) -> RunProgress | None:
    """Return what is known here, else the last record, unless more may have been done since."""
    host = service.host
    reached = host.progress(run.run_id)
    if reached is not None:
        return RunProgress(done=reached.done, total=reached.total)
    recorded = await read_progress(host.pool, run.run_id)
    if recorded is None or recorded["done"] < recorded["total"]:
        counted = await host.counts.reached(run, _COUNT_WITHIN_S)
        if counted is not None and counted.total is not None:
            return RunProgress(done=counted.done, total=counted.total)
    return RunProgress.model_validate(recorded) if recorded is not None else None


async def _forkable(service: Service, run: Run) -> bool:
    async with borrowed(service.host.pool) as connection:
        return await may_be_forked(connection, service.scenarios, run)


async def _absent(service: Service, run: Run, *, ended: bool) -> Mapping[str, int]:
    """Count the run's workflows that are claimed by executors that are away."""
    if ended:
        return {}
    async with borrowed(service.host.pool) as connection:
        absent = await absent_executors(connection, run)
    if not service.host.is_settled(run.run_id):
        # Its process here is killed and started again.
        absent.pop(service.options.settings.executor_id, None)
    return absent


async def _report(service: Service, run: Run) -> tuple[Any, bool | None]:
    """Return the report as JSON values, and whether all is well; None where nobody can tell."""
    async with service.audits, borrowed(service.host.pool) as connection:
        report = await audit(service, connection, run)
    if report is None:
        return None, None
    # What an error says may hold a password.
    return masked(plain(report.as_json())), report.ok


async def audit(service: Service, connection: Connection, run: Run) -> Report | None:
    """Make the report of ``run``; None when the service does not know its scenario."""
    # The registered name, and never a path: what a run of the command line named may be anything.
    scenario = service.scenarios.get(run.target)
    if scenario is None:
        return None
    kills = await service.host.journal.kills(run.run_id)
    return await audit_run(
        service.host.url,
        connection,
        run,
        scenario,
        extra={"kills": dict(kills)} if kills is not None else None,
        settings=service.options.settings.echo(),
    )
