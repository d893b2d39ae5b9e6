"""Whether the service lives, whether it can work, and its figures."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from aexp.service.problems import NOT_READY, RETRY_AFTER_S, documented, problem
from aexp.service.state import Current, Service

__all__ = ["router"]

router = APIRouter(tags=["health"])


@router.get("/livez", responses=documented())
async def live() -> dict[str, str]:
    """Answer while the service's loop runs. Needs no token."""
    return {"status": "alive"}


@router.get("/readyz", response_model=dict[str, str], responses=documented())
async def ready(service: Current) -> Any:
    """Say whether the database can be used and the loop is on time. Needs no token."""
    reasons = [*await service.database.problems(), *_loop_problems(service)]
    if reasons:
        return problem(
            NOT_READY,
            "; ".join(reasons),
            headers={"Retry-After": str(RETRY_AFTER_S)},
            reasons=reasons,
        )
    return {"status": "ready"}


def _loop_problems(service: Service) -> list[str]:
    lag_ms, limit_ms = service.lag.p99_ms, service.options.lag_limit_ms
    if lag_ms > limit_ms:
        return [f"the event loop is late by {lag_ms:.0f} ms, more than {limit_ms:.0f} ms"]
    return []


@router.get(
    "/metrics",
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **documented(),
    },
    response_class=Response,
)
async def metrics(service: Current) -> Response:
    """Return figures for Prometheus."""
    text = await service.metrics.render(service.host, service.lag, service.waiting)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
