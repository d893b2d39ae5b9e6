"""All that is told of one run."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import to_json

from aexp.audit import audit_run
from aexp.log import mask
from aexp.runs import Run
from aexp.service.queries import read_progress, read_status
from aexp.service.schemas import RunDetail
from aexp.service.state import Service, as_connection

__all__ = ["describe_run"]


async def describe_run(service: Service, run: Run, *, with_report: bool = True) -> RunDetail:
    """A run as it stands now."""
    host = service.host
    status, ended = await read_status(host.pool, run.run_id)
    progress = host.progress(run.run_id)
    if progress is not None and progress[0].total is not None:
        told: Any = {"done": progress[0].done, "total": progress[0].total}
    else:
        told = await read_progress(host.pool, run.run_id)
    report, ok = await _report(service, run) if with_report else (None, None)
    return RunDetail(
        run_id=run.run_id,
        scenario=run.scenario,
        status=status or "NOT STARTED",
        active=not host.is_settled(run.run_id),
        created_at=run.created_at,
        parameters=dict(run.parameters),
        ended=ended,
        progress=told,
        kills=await host.journal.kills(run.run_id),
        ok=ok if ended else None,
        report=report,
    )


async def _report(service: Service, run: Run) -> tuple[dict[str, Any] | None, bool | None]:
    """The report as JSON values, and whether all is well."""
    # The registered name, and never a path: what a run of the command line named may be anything.
    scenario = service.scenarios.get(run.target)
    if scenario is None:
        return None, None
    kills = await service.host.journal.kills(run.run_id)
    async with service.audits, service.host.pool.acquire() as connection:
        report = await audit_run(
            service.host.url,
            as_connection(connection),
            run,
            scenario,
            extra={"kills": dict(kills)} if kills is not None else None,
            settings=service.options.settings.echo(),
        )
    document = to_json(report.as_json(), serialize_unknown=True, inf_nan_mode="strings")
    # What an error says may hold a password.
    return _masked(json.loads(document)), report.ok


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {key: _masked(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner) for inner in value]
    return value
