"""What a run has done: its workflows, its steps, and what befell it, as it happens."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Annotated

import structlog
from fastapi import APIRouter, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from aexp.database.retry import is_connection_error
from aexp.runs.host import Host, RunEvent
from aexp.service.cursor import read_cursor, write_cursor
from aexp.service.examples import STREAM
from aexp.service.problems import documented
from aexp.service.queries import read_status, read_step_page, read_workflows
from aexp.service.routes.runs import Cursor
from aexp.service.schemas import StepPage, WorkflowTree
from aexp.service.state import Current, KnownRun, Waiting, race

__all__ = ["router"]

router = APIRouter(tags=["history"])
# Another service may host the run, and tells us nothing.
_LOOK_AGAIN_S = 1.0
_RETRY_MS = 1000
log = structlog.stdlib.get_logger("aexp.service")


@router.get("/runs/{run_id}/workflows", responses=documented(404, 422))
async def show_workflows(service: Current, run: KnownRun) -> WorkflowTree:
    """Show the workflows of a run, each below the one that started it."""
    trees, total, shown = await read_workflows(service.host.pool, run)
    return WorkflowTree.model_validate({"workflows": trees, "total": total, "shown": shown})


@router.get("/runs/{run_id}/steps", responses=documented(404, 422))
async def list_steps(
    service: Current,
    run: KnownRun,
    workflow_id: Annotated[
        str | None, Query(max_length=500, pattern=r"^[^\x00]*$", description="of this one only")
    ] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> StepPage:
    """List the checkpoints of a run, a page at a time."""
    place = read_cursor(cursor, tuple[str, int]) if cursor is not None else None
    found = await read_step_page(
        service.host.pool, run, workflow_id=workflow_id, place=place, limit=limit + 1
    )
    last = found[limit - 1] if len(found) > limit else None
    return StepPage.model_validate(
        {
            "steps": found[:limit],
            "next": write_cursor([last["workflow_id"], last["step_id"]]) if last else None,
        }
    )


@router.get(
    "/runs/{run_id}/events",
    response_class=EventSourceResponse,
    responses={
        200: {"content": {"text/event-stream": {"example": STREAM}}},
        **documented(404, 422),
    },
    dependencies=[Waiting],
)
async def follow_events(
    service: Current,
    run: KnownRun,
    last_event_id: Annotated[
        int,
        Header(ge=0, lt=2**63, description="the last event that the client has: go on after that"),
    ] = 0,
) -> AsyncIterable[ServerSentEvent]:
    """Stream what befalls a run, from its beginning until it has ended, as server-sent events.

    `id` counts from 1 without a gap, `event` names what happened, `data` is JSON with `seq`,
    `event`, `data` and `happened_at`. While nothing happens comments keep the connection open.
    """
    yield ServerSentEvent(comment=f"events of {run.run_id}", retry=_RETRY_MS)
    after = last_event_id
    while True:
        news = service.host.journal.news(run.run_id)
        try:
            # Asked first, so that all that led to the end is there to be read.
            over = service.stop.asked() or await _is_over(service.host, run.run_id)
            events = await service.host.journal.read(run.run_id, after)
        except Exception as error:
            if not is_connection_error(error):
                raise
            # The client comes again, and misses nothing.
            log.warning("service.stream_broken", run_id=run.run_id, error=str(error))
            return
        for event in events:
            yield _sent(event)
            after = event.seq
        if events:
            continue
        if over:
            return
        await race(news.wait, service.stop.event.wait, within_s=_LOOK_AGAIN_S)


def _sent(event: RunEvent) -> ServerSentEvent:
    data = {
        "seq": event.seq,
        "event": event.event,
        "data": event.data,
        "happened_at": event.happened_at,
    }
    return ServerSentEvent(id=str(event.seq), event=event.event, data=data)


async def _is_over(host: Host, run_id: str) -> bool:
    """Return whether a run has ended, and nobody here has anything left to write down of it."""
    if not host.is_settled(run_id):
        return False
    _, ended = await read_status(host.pool, run_id)
    return ended and host.is_settled(run_id)
