"""Runs: which there are, and how each stands."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BeforeValidator, WithJsonSchema

from aexp.service.cursor import read_cursor, write_cursor
from aexp.service.problems import documented
from aexp.service.queries import read_run_page
from aexp.service.reports import describe_run
from aexp.service.schemas import RunDetail, RunPage, RunSummary
from aexp.service.state import Current, KnownRun

__all__ = ["Cursor", "router"]

router = APIRouter(tags=["runs"])

Status = Literal[
    "NOT STARTED",
    "ENQUEUED",
    "DELAYED",
    "PENDING",
    "SUCCESS",
    "ERROR",
    "CANCELLED",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED",
]
Cursor = Annotated[
    str | None, Query(max_length=1000, description="`next` of the page before this one")
]
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.IGNORECASE)


def _moment(text: Any) -> datetime:
    if not isinstance(text, str) or not _MOMENT.fullmatch(text):
        raise ValueError("write a moment as 2025-01-31T12:00:00Z")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the moment is too far away") from error


Timestamp = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


@router.get("/runs", responses=documented(422))
async def list_runs(
    service: Current,
    scenario: Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")] = None,
    status: Status | None = None,
    began_after: Timestamp | None = None,
    began_before: Timestamp | None = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> RunPage:
    """List runs that fit, newest first, a page at a time."""
    place = read_cursor(cursor, tuple[datetime, str]) if cursor is not None else None
    found = await read_run_page(
        service.host.pool,
        scenario=scenario,
        status=status,
        began_after=began_after,
        began_before=began_before,
        place=place,
        limit=limit + 1,
    )
    shown = found[:limit]
    more = len(found) > limit
    return RunPage(
        runs=[
            RunSummary(active=not service.host.is_settled(row["run_id"]), **dict(row))
            for row in shown
        ],
        next=write_cursor([shown[-1]["created_at"].isoformat(), shown[-1]["run_id"]])
        if more
        else None,
    )


@router.get("/runs/{run_id}", responses=documented(404, 422))
async def show_run(
    service: Current,
    run: KnownRun,
    report: Annotated[bool, Query(description="audit the run, which reads its rows")] = True,  # noqa: FBT002
) -> RunDetail:
    """Show how a run stands: its progress, its promises, its account."""
    return await describe_run(service, run, with_report=report)
