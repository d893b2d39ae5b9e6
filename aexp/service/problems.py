"""Errors as problem details (RFC 9457), each kind of ours mapped once.

No helper for FastAPI does it all: these are exception handlers, while the gate, which stands before
the application, and the HTTP protocol, which stands before both, answer with problems too.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import asyncpg
import sqlalchemy.exc
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from aexp.database.retry import is_connection_error
from aexp.errors import (
    AexpError,
    BadInput,
    DatabaseError,
    ForkRefused,
    InvalidParameter,
    RunActive,
    RunBusy,
    RunElsewhere,
    RunEnded,
    RunMismatch,
    RunUnfinished,
    ScenarioError,
    TooManyRuns,
    UnknownRun,
    UnknownScenario,
    UsageError,
)
from aexp.log import mask

__all__ = [
    "CROSS_SITE",
    "FORBIDDEN_PARAMETER",
    "HEAD_TOO_LARGE",
    "INVALID",
    "MEDIA_TYPE",
    "NOT_READY",
    "RETRY_AFTER_S",
    "TOO_BUSY",
    "TOO_LARGE",
    "TOO_SLOW",
    "UNAUTHORIZED",
    "WRONG_HOST",
    "Kind",
    "RequestRefused",
    "add_problem_handlers",
    "documented",
    "of_status",
    "problem",
    "unexpected",
]

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
# Problems of a request that one answer names.
MOST_ERRORS = 20

log = structlog.stdlib.get_logger("aexp.service")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem. Its ``type`` is ``urn:aexp:problem:SLUG`` and never changes."""

    status: int
    slug: str
    title: str

    @property
    def type(self) -> str:
        """What tells it from other kinds."""
        return f"urn:aexp:problem:{self.slug}"


class RequestRefused(Exception):
    """A request that is not carried out, for a reason that only HTTP knows."""

    def __init__(
        self, kind: Kind, detail: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        self.kind = kind
        self.detail = detail
        self.headers = headers or {}
        super().__init__(detail)


INVALID = Kind(422, "invalid-request", "The request is not valid")
FORBIDDEN_PARAMETER = Kind(403, "forbidden-parameter", "This service does not take such a value")
CROSS_SITE = Kind(403, "cross-site", "Requests from other sites are refused")
UNAUTHORIZED = Kind(401, "unauthorized", "A token is needed")
WRONG_HOST = Kind(421, "wrong-host", "This service does not go by that name")
TOO_LARGE = Kind(413, "too-large", "The body is too large")
HEAD_TOO_LARGE = Kind(431, "head-too-large", "The URL or the headers are too long")
TOO_SLOW = Kind(408, "too-slow", "The request took too long to arrive")
TOO_BUSY = Kind(503, "too-busy", "Too many requests are waiting")
NOT_READY = Kind(503, "not-ready", "The service is not ready")
INTERNAL = Kind(500, "internal", "Something is wrong in the service")
_UNREACHABLE = Kind(503, "database-unavailable", "The database cannot be used")
_TOO_MANY_RUNS = Kind(429, "too-many-runs", "As many runs as may be are being worked on")

# The first that fits, so the precise ones first.
_KINDS: Sequence[tuple[type[AexpError], Kind]] = (
    (UnknownScenario, Kind(404, "unknown-scenario", "There is no such scenario")),
    (UnknownRun, Kind(404, "unknown-run", "There is no such run")),
    (InvalidParameter, Kind(422, "invalid-parameter", "A parameter is not valid")),
    (BadInput, Kind(422, "bad-input", "The input cannot be used")),
    (RunMismatch, Kind(422, "key-reused", "The key belongs to another request")),
    (RunActive, Kind(409, "run-active", "The run is being worked on")),
    (RunBusy, Kind(409, "run-active", "The run is being worked on")),
    (RunElsewhere, Kind(409, "run-elsewhere", "Another executor has the run")),
    (RunEnded, Kind(409, "run-ended", "The run has ended")),
    (RunUnfinished, Kind(409, "run-unfinished", "A run has not ended")),
    (ForkRefused, Kind(422, "fork-refused", "The run cannot be forked so")),
    (TooManyRuns, _TOO_MANY_RUNS),
    (DatabaseError, _UNREACHABLE),
    (ScenarioError, Kind(500, "scenario-failed", "The scenario's own code failed")),
    (UsageError, INVALID),
)

_STATUS_SLUGS = {
    400: "bad-request",
    404: "not-found",
    405: "method-not-allowed",
    409: "conflict",
    429: _TOO_MANY_RUNS.slug,
}


_OF_STATUS = (
    INVALID,
    TOO_LARGE,
    HEAD_TOO_LARGE,
    TOO_SLOW,
    UNAUTHORIZED,
    CROSS_SITE,
    WRONG_HOST,
    TOO_BUSY,
    INTERNAL,
)


def of_status(status: int) -> Kind:
    """Return the kind for an answer of the framework's own."""
    for kind in _OF_STATUS:
        if kind.status == status:
            return kind
    return Kind(status, _STATUS_SLUGS.get(status, f"status-{status}"), HTTPStatus(status).phrase)


def problem(
    kind: Kind,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    """Make the answer that says so; ``more`` are extension members."""
    document = {
        "type": kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": mask(detail),
        **more,
    }
    # ASCII, since a client may have sent what is no valid Unicode.
    body = json.dumps(document, ensure_ascii=True, default=str).encode()
    return Response(body, kind.status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


# The command line says these in terms of its own options, and more than a client need know.
_WORDS: Mapping[type[AexpError], Callable[[Any], str]] = {
    UnknownScenario: lambda error: f"no scenario {error.name!r}: GET /scenarios lists them",
    UnknownRun: lambda error: f"no run {error.run_id!r}: GET /runs lists them",
    InvalidParameter: lambda error: "; ".join(
        text.partition(": give --set")[0] for text in error.problems[:MOST_ERRORS]
    ),
    RunMismatch: lambda error: (
        f"it was first used with {'; '.join(error.differences)}: choose another key"
    ),
    RunEnded: lambda error: f"run {error.run_id!r} has ended",
    DatabaseError: lambda _error: _AWAY,
    ScenarioError: lambda error: (
        f"{error.part} of scenario {error.scenario!r} raised an error: the service's log says more"
    ),
}
_AWAY = "the database cannot be used at the moment"
_UNKNOWN = "an error that nobody expected: the service's log says more"


def _in_terms_of_http(error: AexpError) -> str:
    words = (tell for cls, tell in _WORDS.items() if isinstance(error, cls))
    return next(words, str)(error)


async def _ours(_request: Request, error: Exception) -> Response:
    assert isinstance(error, AexpError)
    kind = next((kind for cls, kind in _KINDS if isinstance(error, cls)), INTERNAL)
    if kind.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("service.request_failed", error=str(error), problem=kind.slug)
    detail = _in_terms_of_http(error) if kind is not INTERNAL else _UNKNOWN
    headers = {"Retry-After": str(RETRY_AFTER_S)} if kind.status in {429, 503} else {}
    return problem(kind, detail, headers=headers)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestRefused)
    return problem(error.kind, error.detail, headers=error.headers)


async def _of_framework(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(of_status(error.status_code), str(error.detail), headers=error.headers)


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Where and what, but not the value, which may be a secret or no valid Unicode.
    errors = [
        {"where": ".".join(str(part) for part in item["loc"]), "what": item["msg"]}
        for item in error.errors()[:MOST_ERRORS]
    ]
    detail = "; ".join(f"{item['where']}: {item['what']}" for item in errors)
    return problem(INVALID, detail, errors=errors)


async def _database(_request: Request, error: Exception) -> Response:
    if isinstance(error, asyncpg.DataError):
        # Nothing but values of the request reach a statement.
        return problem(INVALID, "a value is none that the database can hold")
    kind = _UNREACHABLE if is_connection_error(error) else INTERNAL
    if kind is INTERNAL:
        return unexpected(error)
    log.warning("service.request_failed", error=str(error), problem=kind.slug)
    return problem(
        kind,
        _AWAY,
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )


def unexpected(error: Exception) -> Response:
    """Answer a request that ended in an error which nobody handles; the log has the rest."""
    log.error("service.request_failed", problem=INTERNAL.slug, exc_info=error)
    return problem(INTERNAL, _UNKNOWN)


def add_problem_handlers(app: FastAPI) -> None:
    """Let ``app`` answer every error that we know with a problem."""
    handlers: Mapping[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        AexpError: _ours,
        RequestRefused: _refused,
        HTTPException: _of_framework,
        RequestValidationError: _invalid,
        asyncpg.PostgresError: _database,
        asyncpg.InterfaceError: _database,
        asyncpg.InternalClientError: _database,
        sqlalchemy.exc.DBAPIError: _database,
        OSError: _database,
    }
    for error, handler in handlers.items():
        app.add_exception_handler(error, handler)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return these statuses and those that every request may get, for the OpenAPI document."""
    common = (401, 403, 408, 413, 421, 431, 500, 503)
    return {
        status: {
            "description": of_status(status).title,
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": {
                        "type": of_status(status).type,
                        "title": of_status(status).title,
                        "status": status,
                        "detail": "what is wrong, in one line",
                    },
                }
            },
        }
        for status in sorted({*statuses, *common})
    }
