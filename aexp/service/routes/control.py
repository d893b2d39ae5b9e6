"""Changing what goes on: cancel, resume and delete a run, and end the service."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response

from aexp.service import starting
from aexp.service.problems import documented
from aexp.service.reports import describe_run
from aexp.service.routes.scenarios import BEGUN
from aexp.service.schemas import ForkRequest, RunDetail
from aexp.service.state import Current, RunId

__all__ = ["router"]

router = APIRouter(tags=["control"])
_PROBLEMS = documented(404, 408, 409, 413, 422)


@router.post("/runs/{run_id}/cancel", responses=_PROBLEMS)
async def cancel_run(service: Current, run_id: RunId) -> RunDetail:
    """Cancel what has not ended of a run, once its process has let the steps in flight end."""
    await service.host.cancel(run_id)
    return await describe_run(service, await service.run(run_id), with_report=False)


@router.post(
    "/runs/{run_id}/resume",
    status_code=202,
    responses={**_PROBLEMS, **documented(429)},
)
async def resume_run(service: Current, run_id: RunId) -> RunDetail:
    """Go on with a run that was cancelled, interrupted or given up."""
    run = await starting.resume_run(service, run_id)
    return await describe_run(service, run, with_report=False)


@router.post(
    "/runs/{run_id}/fork",
    status_code=202,
    response_model=RunDetail,
    responses={**BEGUN, **documented(409)},
)
async def fork_run(
    service: Current,
    request: Request,
    response: Response,
    run_id: RunId,
    order: Annotated[ForkRequest, Body(default_factory=ForkRequest)],
) -> Any:
    """Begin a run that has the checkpoints of one that has ended, up to a step, and goes its own
    way from there on, with a new id. A request for the same fork is answered with that one.
    """
    run = await starting.fork_run(service, run_id, order)
    return await starting.answer_with_run(service, request, response, run, within_s=0.0)


@router.delete("/runs/{run_id}", status_code=204, responses=_PROBLEMS)
async def delete_run(service: Current, run_id: RunId) -> Response:
    """Delete a run, its workflows, and all that is recorded of it."""
    await service.host.delete(run_id)
    return Response(status_code=204)


@router.post("/shutdown", status_code=202, responses=documented(408, 413))
async def shut_down(service: Current) -> Response:
    """End the service: the runs' processes drain, and the next service goes on with them."""
    service.stop.ask()
    return Response(status_code=202)
