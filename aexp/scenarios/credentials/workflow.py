"""``credentials``: describe users page by page, with credentials that live in the process only.

Every page is a child workflow, every user a step that asks the one cache of its process for
credentials. They come over HTTP from a token endpoint, and must come to no checkpoint and no log:
a process that is started after a kill has to fetch them again.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import structlog
from dbos import DBOS
from dbos import error as dbos_error
from pydantic import Field, field_validator

from aexp.database.connect import Connection, connected
from aexp.durable import ledger
from aexp.durable.fan_out import fan_out
from aexp.engine.runtime import Queue, Runtime, current_runtime
from aexp.engine.tables.steps import count_succeeded
from aexp.log import guard, guarded_leaks
from aexp.model.parameters import NAMES_PLACE, Parameters
from aexp.model.run import Run
from aexp.model.scenario import Scenario
from aexp.processes.progress import Reached
from aexp.scenarios.credentials.cache import (
    Credential,
    CredentialsCache,
    CredentialsUnavailable,
    Reason,
)
from aexp.scenarios.credentials.evidence import gather
from aexp.scenarios.credentials.promises import (
    FETCH_FAILED,
    FETCHED,
    PROMISES,
    account,
    marker,
    step_name,
)
from aexp.scenarios.credentials.secret_search import search

if TYPE_CHECKING:
    from aexp.scenarios.credentials.token_endpoint import TokenClient

__all__ = ["SCENARIO", "CredentialsParameters", "credentials"]

QUEUE = "page_queue"
MAX_ATTEMPTS = 3
RETRY_INTERVAL_S = 0.1

log = structlog.stdlib.get_logger("aexp.credentials")


class CredentialsParameters(Parameters):
    """What to describe, and where credentials come from."""

    pages: int = Field(5, ge=1, le=10_000, description="pages, each a child workflow")
    users: int = Field(3, ge=1, le=100, description="users to a page, each described in a step")
    pause_s: float = Field(0.1, ge=0, le=3600, description="what describing a user takes")
    ttl_s: float = Field(
        60.0, ge=0.01, le=86_400, description="life of credentials; the endpoint may say less"
    )
    concurrency: int = Field(2, ge=1, le=100, description="pages at a time in one process")
    token_url: str | None = Field(
        None,
        description="a token endpoint to ask; without one, the scenario's own on loopback",
        json_schema_extra=NAMES_PLACE,
    )
    deadline_s: float = Field(5.0, ge=0.01, le=600, description="what a fetch may take")

    @field_validator("token_url")
    @classmethod
    def _is_http(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.username is not None or parts.password is not None:
            raise ValueError("leave user and password out: parameters are kept in the database")
        if parts.query or parts.fragment:
            raise ValueError("leave the query out, in which a key may stand: parameters are kept")
        # Asking for the port raises when it is none.
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
            raise ValueError("give the URL of a token endpoint, http:// or https://")
        if not value.isprintable() or " " in value:
            raise ValueError("a URL has no blanks")
        return value


class PageFailed(Exception):
    """Users of a page could not be described."""


class NothingDescribed(Exception):
    """No page could be described."""


class _ProcessCredentials:
    """What this process has of credentials: who fetches them, the cache, and what it counted."""

    def __init__(self, runtime: Runtime, run: Run, client: TokenClient) -> None:
        self.client = client
        self.cache = CredentialsCache(self._fetch)
        self._runtime = runtime
        self._run_id = run.run_id
        self._fetches = 0
        self._expired_uses = 0
        self._secrets: set[str] = set()
        self._logged_before = guarded_leaks()
        self._searched: Mapping[str, Any] | None = None

    async def _fetch(self, why: Reason) -> Credential:
        try:
            credential = await self.client.fetch()
        except CredentialsUnavailable as error:
            log.warning("credentials.fetch_failed", error=str(error))
            await self._note(FETCH_FAILED, {"why": why, "error": str(error)})
            raise
        guard(credential.reveal())
        self._secrets.add(credential.reveal())
        self._fetches += 1
        # Committed before anybody uses them, so that no kill hides a fetch that had a use.
        fetched = {
            "fetch": self._fetches,
            "why": why,
            "fetched_at": credential.fetched_at,
            "expires_at": credential.expires_at,
        }
        await self._note(FETCHED, fetched)
        log.info("credentials.fetched", **fetched)
        return credential

    async def credentials(self) -> Credential:
        """Return what the cache gives; count it when that had expired before it was asked for."""
        asked_at = time.monotonic()
        credential = await self.cache.get()
        if credential.expires_at <= asked_at:
            self._expired_uses += 1
        return credential

    async def _note(self, event: str, data: Mapping[str, Any]) -> None:
        await ledger.record_event(self._runtime, self._run_id, event, data)

    async def search_own(self) -> None:
        """Search the tables for the secrets of this process, which no other process knows."""
        try:
            async with connected(self._runtime.database.url) as connection:
                found = await search(connection, sorted(self._secrets))
        except Exception as error:
            # What is not searched is not judged.
            log.warning("credentials.search_failed", error=str(error))
        else:
            self._searched = found.as_json()

    def memory(self) -> Mapping[str, Any]:
        """Return what the audit asks of this process."""
        return {
            "fetches": self._fetches,
            "expired_uses": self._expired_uses,
            "log_leaks": guarded_leaks() - self._logged_before,
            "searched": self._searched,
        }


# The process's own, as in the program that this retells: made when a process starts, empty until
# somebody asks, gone when the process is killed.
_held: _ProcessCredentials | None = None


def _of_this_process() -> _ProcessCredentials:
    if _held is None:
        raise RuntimeError("no run of credentials is under way in this process")
    return _held


async def credentials() -> Credential:
    """Return the credentials of this process, fetched if there are none or they have expired.

    Raises CredentialsUnavailable, whose text holds no secret.
    """
    return await _of_this_process().credentials()


@DBOS.workflow(name="credentials.describe_pages")
async def describe_pages(**given: Any) -> Mapping[str, Any]:
    """Describe all users, page by page; pages that still failed after retries are listed.

    Takes the fields of CredentialsParameters. Returns ``{"described", "failed"}``: users, and a
    list of ``{"page", "error"}``. Raises NothingDescribed when every page failed.
    """
    parameters = CredentialsParameters.model_validate(given)
    run_id = DBOS.workflow_id
    pages = range(1, parameters.pages + 1)
    outcomes = await fan_out(
        describe_page,
        ({"run_id": run_id, "given": given, "page": page} for page in pages),
        queue=QUEUE,
        return_exceptions=True,
    )
    failed = [
        {"page": page, "error": str(outcome)}
        for page, outcome in zip(pages, outcomes, strict=True)
        if isinstance(outcome, Exception)
    ]
    if len(failed) == parameters.pages:
        raise NothingDescribed(f"no page could be described: {failed[0]['error']}")
    described = sum(len(outcome) for outcome in outcomes if not isinstance(outcome, Exception))
    log.info("credentials.run_ended", described=described, failed=len(failed))
    return {"described": described, "failed": failed}


@DBOS.workflow(name="credentials.describe_page")
async def describe_page(
    run_id: str, given: Mapping[str, Any], page: int
) -> list[Mapping[str, Any]]:
    """Describe the users of one page, all at once; raises PageFailed."""
    parameters = CredentialsParameters.model_validate(given)
    # DBOS numbers steps as they start, and gather starts them in this order on each replay.
    outcomes = await asyncio.gather(
        *(
            DBOS.run_step_async(
                {
                    "name": step_name(page, number),
                    "retries_allowed": True,
                    "max_attempts": MAX_ATTEMPTS,
                    "interval_seconds": RETRY_INTERVAL_S,
                },
                _describe_user,
                run_id,
                step_name(page, number),
                f"{page}.{number}",
                parameters.pause_s,
            )
            for number in range(1, parameters.users + 1)
        ),
        return_exceptions=True,
    )
    described, errors = [], []
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            errors.append(outcome)
        elif isinstance(outcome, BaseException):
            # Cancelled: that is no failure of the page.
            raise outcome
        else:
            described.append(outcome)
    if errors:
        reason = _reason(errors[0])
        log.error("credentials.page_failed", page=page, error=reason)
        raise PageFailed(f"{len(errors)} of {parameters.users} users: {reason}")
    return described


def _reason(error: Exception) -> str:
    """Say why a step failed in its last attempt."""
    if isinstance(error, dbos_error.DBOSMaxStepRetriesExceeded) and error.errors:
        return str(error.errors[-1])
    return str(error) or type(error).__name__


async def _describe_user(run_id: str, step: str, user: str, pause_s: float) -> Mapping[str, Any]:
    """Describe ``user`` with the credentials of whichever process this runs in."""
    runtime = current_runtime()
    await ledger.record_body(runtime, run_id, step)
    described = await _of_this_process().client.describe(user, await credentials())
    await anyio.sleep(pause_s)
    runtime.progress.advance()
    return described


async def _resources(runtime: Runtime, run: Run) -> AsyncIterator[None]:
    """Open a token endpoint of this process, unless one is given, and an empty cache."""
    global _held  # noqa: PLW0603 - what this scenario is about
    # In a thread: importing aiohttp takes half a second.
    await anyio.to_thread.run_sync(
        importlib.import_module, "aexp.scenarios.credentials.token_endpoint"
    )
    from aexp.scenarios.credentials.token_endpoint import open_client, serve  # noqa: PLC0415

    parameters = CredentialsParameters.model_validate(run.parameters)
    async with AsyncExitStack() as stack:
        token_url, users_url = parameters.token_url, None
        if token_url is None:
            own = await stack.enter_async_context(serve(marker(run.run_id), parameters.ttl_s))
            token_url, users_url = f"{own}/token", f"{own}/users"
        client = await stack.enter_async_context(
            open_client(
                token_url, users_url, ttl_s=parameters.ttl_s, deadline_s=parameters.deadline_s
            )
        )
        held = _ProcessCredentials(runtime, run, client)
        runtime.progress.remember(held.memory)
        await stack.enter_async_context(held.cache)
        _held = held
        try:
            yield
        finally:
            _held = None
            if parameters.token_url is not None:
                await held.search_own()


async def _reached(connection: Connection, run: Run) -> Reached:
    done = await count_succeeded(connection, run.application_version, step_name())
    return Reached(done, run.parameters["pages"] * run.parameters["users"])


SCENARIO = Scenario(
    name="credentials",
    summary="Describe users page by page, with credentials that no table and no log may hold.",
    workflow=describe_pages,
    parameters=CredentialsParameters,
    queues=lambda parameters: [Queue(name=QUEUE, worker_concurrency=parameters.concurrency)],
    resources=_resources,
    reached=_reached,
    # Enqueue and collect beside a step for each user, and one for good measure.
    steps=lambda parameters, _facts: parameters.pages * parameters.users + 3,
    gather=gather,
    promises=PROMISES,
    account=account,
)
