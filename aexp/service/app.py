"""The composition root: one application from its options."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import structlog
from fastapi import FastAPI

import aexp
from aexp.errors import InvalidTarget
from aexp.model.scenario import Scenario
from aexp.runs.host import open_host
from aexp.scenarios import find_scenario, known_scenarios
from aexp.service.middleware import Gate
from aexp.service.openapi import describe
from aexp.service.options import ServiceOptions
from aexp.service.problems import add_problem_handlers
from aexp.service.routes import ROUTERS
from aexp.service.state import Service

__all__ = ["create_app", "load_scenarios"]

log = structlog.stdlib.get_logger("aexp.service")


def load_scenarios() -> Mapping[str, Scenario[Any]]:
    """Load all scenarios by name. Imports them, which takes time: call it before the loop."""
    found: dict[str, Scenario[Any]] = {}
    for name in known_scenarios():
        try:
            _, found[name] = find_scenario(name)
        except InvalidTarget as error:
            # One that somebody has installed is not a reason to serve none.
            log.warning("service.scenario_left_out", scenario=name, error=str(error))
    return found


def create_app(options: ServiceOptions, scenarios: Mapping[str, Scenario[Any]]) -> FastAPI:
    """Create the service as an ASGI application, which hosts runs for as long as its lifespan.

    ``app.state.service`` is its :class:`Service`. Needs a migrated database.
    """
    service = Service(options, scenarios)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(service.lag.watch)
                async with open_host(
                    options.settings,
                    options.url,
                    scenarios=scenarios,
                    max_active_runs=options.max_active_runs,
                    keep=options.keep,
                ) as service.opened:
                    yield
                group.cancel_scope.cancel()
        except BaseException as error:
            service.failure = error
            # Nobody else would notice: requests are answered, and no run is worked on.
            service.stop.ask()
            raise

    app = FastAPI(
        title="aexp",
        version=aexp.__version__,
        summary="Durable asyncio: run DBOS workflows, kill them, resume them, account for all.",
        lifespan=lifespan,
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    for router in ROUTERS:
        app.include_router(router)
    add_problem_handlers(app)
    app.add_middleware(Gate, service=service)
    describe(app, with_token=options.token is not None)
    return app
