"""A run is asked for: begun once, and waited for if the client will wait."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import anyio.to_thread
from fastapi import Request
from starlette.responses import Response

from aexp.errors import UnknownScenario
from aexp.model.run import Run
from aexp.model.run_ids import run_id_of_key
from aexp.service.confinement import confine
from aexp.service.queries import read_status
from aexp.service.reports import describe_run
from aexp.service.schemas import ForkRequest, RunRequest
from aexp.service.state import Service, race

__all__ = ["answer_with_run", "fork_run", "resume_run", "start_run"]


async def start_run(service: Service, name: str, order: RunRequest, key: str | None) -> Run:
    """Begin what ``order`` asks for, unless this very request has begun it already.

    Raises UnknownScenario, InvalidParameter, BadInput, RunMismatch, TooManyRuns, RequestRefused.
    """
    parameters = await _confined(service, name, order.parameters)
    run, _ = await service.host.start(
        name,
        parameters,
        run_id=run_id_of_key(name, key) if key is not None else None,
        kills=order.kills,
        seed=order.seed,
    )
    return run


async def fork_run(service: Service, run_id: str, order: ForkRequest) -> Run:
    """Begin the fork that ``order`` asks for, unless this very request has begun it already.

    Raises what :meth:`Host.fork` does, and RequestRefused.
    """
    await _refuse_unconfined(service, run_id)
    return await service.host.fork(run_id, order.start_step, new_id=order.run_id)


async def resume_run(service: Service, run_id: str) -> Run:
    """Go on with a run. Raises what :meth:`Host.resume` does, and RequestRefused."""
    await _refuse_unconfined(service, run_id)
    return await service.host.resume(run_id)


async def _refuse_unconfined(service: Service, run_id: str) -> None:
    """Raise RequestRefused when the run may read what no request may name, UnknownScenario when it
    is of a module of somebody's own: it was begun elsewhere then.
    """
    run = await service.run(run_id)
    # What a request asked for was confined then. Its parameters are complete by now: a folder that
    # the scenario chose itself, which is below no root, is among them.
    if not await service.host.journal.was_requested(run_id):
        await _confined(service, run.target, run.parameters)


async def _confined(
    service: Service, name: str, parameters: Mapping[str, Any]
) -> Mapping[str, Any]:
    scenario = service.scenarios.get(name)
    if scenario is None:
        raise UnknownScenario(name, ())
    return await anyio.to_thread.run_sync(
        partial(
            confine,
            scenario,
            parameters,
            root=service.options.input_root,
            allow_outbound=service.options.allow_outbound,
        )
    )


async def answer_with_run(
    service: Service, request: Request, response: Response, run: Run, *, within_s: float
) -> Any:
    """Answer with the run: 200 and its report if it ends within ``within_s``, else 202.

    A client that leaves ends the wait and not the run.
    """
    ended = False
    if within_s:

        async def client_leaves() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        await race(
            partial(service.host.wait, run.run_id),
            service.stop.event.wait,
            client_leaves,
            within_s=within_s,
        )
        _, ended = await read_status(service.host.pool, run.run_id)
    response.status_code = 200 if ended else 202
    response.headers["Location"] = f"/runs/{run.run_id}"
    return await describe_run(service, run, with_report=ended)
