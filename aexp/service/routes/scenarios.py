"""What can be run, and running it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Path, Query, Request, Response

from aexp.service.problems import documented
from aexp.service.schemas import RunDetail, RunRequest, ScenarioInfo, ScenarioList
from aexp.service.starting import answer_with_run, start_run
from aexp.service.state import Current, Waiting

__all__ = ["BEGUN", "router"]

router = APIRouter(tags=["scenarios"])

ScenarioName = Annotated[
    str, Path(max_length=200, description="name of a scenario", examples=["resume"])
]
QueryName = Annotated[
    str, Query(max_length=200, description="name of a scenario", examples=["resume"])
]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[!-~]+$",
        description="a request with the same key and body is the same run",
    ),
]
Within = Annotated[
    float, Query(gt=0, le=3600, description="seconds to wait for the end of the run at most")
]
RunBody = Annotated[RunRequest, Body(default_factory=RunRequest)]

# How a request that begins a run is answered.
BEGUN: dict[int | str, dict[str, Any]] = {
    200: {"model": RunDetail, "description": "The run has ended; with its report"},
    202: {
        "model": RunDetail,
        "description": "The run goes on",
        "headers": {
            "Location": {"description": "where the run is found", "schema": {"type": "string"}}
        },
    },
    **documented(400, 404, 422, 429),
}


@router.get("/scenarios", responses=documented())
async def list_scenarios(service: Current) -> ScenarioList:
    """List all scenarios that can be run here, with the JSON schema of their parameters."""
    return ScenarioList(
        scenarios=[
            ScenarioInfo(
                name=name,
                summary=scenario.summary,
                parameters=scenario.parameters.model_json_schema(),
                promises=[
                    {"name": promise.name, "statement": promise.statement}
                    for promise in scenario.promises
                ],
            )
            for name, scenario in sorted(service.scenarios.items())
        ]
    )


@router.post("/scenarios/{name}/runs", status_code=202, response_model=RunDetail, responses=BEGUN)
async def begin(
    service: Current,
    request: Request,
    response: Response,
    name: ScenarioName,
    order: RunBody,
    wait: Annotated[bool, Query(description="answer when the run has ended")] = False,  # noqa: FBT002
    timeout_s: Within = 600.0,
    idempotency_key: Key = None,
) -> Any:
    """Begin a run. With `wait` the answer comes when it has ended or the time is up, whichever is
    first; the run itself goes on whatever becomes of this request.
    """
    with service.place() if wait else nullcontext():
        run = await start_run(service, name, order, idempotency_key)
        return await answer_with_run(
            service, request, response, run, within_s=timeout_s if wait else 0.0
        )


@router.post("/trigger_sync", response_model=RunDetail, responses=BEGUN, dependencies=[Waiting])
async def trigger_sync(
    service: Current,
    request: Request,
    response: Response,
    scenario: QueryName,
    order: RunBody,
    timeout_s: Within = 600.0,
    idempotency_key: Key = None,
) -> Any:
    """Begin a run and wait for its end, as `POST /scenarios/{name}/runs?wait=true`."""
    run = await start_run(service, scenario, order, idempotency_key)
    return await answer_with_run(service, request, response, run, within_s=timeout_s)


@router.post("/trigger_async", status_code=202, response_model=RunDetail, responses=BEGUN)
async def trigger_async(
    service: Current,
    request: Request,
    response: Response,
    scenario: QueryName,
    order: RunBody,
    idempotency_key: Key = None,
) -> Any:
    """Begin a run and answer at once, as `POST /scenarios/{name}/runs`."""
    run = await start_run(service, scenario, order, idempotency_key)
    return await answer_with_run(service, request, response, run, within_s=0.0)
