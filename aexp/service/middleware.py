"""What stands before the routes: names, tokens, sizes, deadlines and headers.

Pure ASGI, so that a stream is passed on as it comes and a client that leaves is noticed.

Starlette's TrustedHostMiddleware answers a wrong name with 400 and a line of text, where 421 and
problem details are due, and does not know a name that ends in a dot. uvicorn's limit_concurrency
counts open connections that ask for nothing, and answers with text as well.
"""

from __future__ import annotations

import base64
import hmac
import socket
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aexp.service.options import ServiceOptions
from aexp.service.problems import (
    CROSS_SITE,
    HEAD_TOO_LARGE,
    RETRY_AFTER_S,
    TOO_BUSY,
    TOO_LARGE,
    TOO_SLOW,
    UNAUTHORIZED,
    WRONG_HOST,
    problem,
    unexpected,
)
from aexp.service.state import Service

__all__ = ["HEAD_LIMIT", "OPEN_PATHS", "Gate", "known_names"]

# Probes come without a token.
OPEN_PATHS = frozenset({"/livez", "/readyz"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Of a request's URL and headers, in bytes.
HEAD_LIMIT = 16 * 1024
# Those that are being answered, the ones that wait for a run among them.
MOST_REQUESTS = 500

_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

log = structlog.stdlib.get_logger("aexp.service")


class Gate:
    """Lets a request through to ``app`` when it may, and its body once it is there in whole."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service
        self._options: ServiceOptions = service.options
        self._token = self._options.token
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            with anyio.move_on_after(self._options.send_deadline_s) as sending:
                await send(message)
            if sending.cancelled_caught:
                # It takes nothing of what there is to be read, and holds its place meanwhile.
                log.info("service.client_let_go", path=scope["path"])
                exchange.cancel()
                await anyio.lowlevel.checkpoint()

        self._open += 1
        try:
            with anyio.CancelScope() as exchange:
                await self._admit(scope, receive, answer)
        except Exception as error:
            if status:
                raise
            await unexpected(error)(scope, receive, answer)
        finally:
            self._open -= 1
            elapsed_s = time.perf_counter() - began
            self._service.metrics.answered(_known_method(scope["method"]), status, elapsed_s)
            log.debug(
                "service.request_answered",
                method=scope["method"],
                path=scope["path"],
                status=status,
                elapsed_ms=round(elapsed_s * 1000, 1),
            )

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope)
        if refusal is None:
            body = await self._body(receive)
            if body is None:
                # It left before it had said what it wants.
                return
            if isinstance(body, bytes):
                await self._app(scope, _replayed(body, receive), send)
                return
            refusal = body
        # What it still sends is not read.
        refusal.headers["Connection"] = "close"
        await refusal(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        """Say why a request is refused for what its head says."""
        headers = Headers(scope=scope)
        if (refusal := self._excess(scope, headers)) is not None:
            return refusal
        host = headers.get("host", "")
        hosts = self._options.hosts
        if hosts is not None and _name(host) not in hosts:
            # A page elsewhere whose name has been made to mean this machine (DNS rebinding).
            return problem(WRONG_HOST, "address the service by the name that it was started with")
        if scope["method"] not in _SAFE_METHODS and _is_cross_site(headers, host):
            # A browser sends simple requests without asking first, CORS or not.
            return problem(CROSS_SITE, "a page of another site may not change anything here")
        if scope["path"] not in OPEN_PATHS and not self._bears_token(headers):
            refusal = problem(
                UNAUTHORIZED,
                "send the service's token as `Authorization: Bearer TOKEN`",
                headers={"WWW-Authenticate": 'Bearer realm="aexp"'},
            )
            # A browser asks its user for this one, and sends it with all that a page loads. On a
            # line of its own: Chromium reads one challenge a line.
            refusal.headers.append("WWW-Authenticate", 'Basic realm="aexp"')
            return refusal
        return None

    def _excess(self, scope: Scope, headers: Headers) -> Response | None:
        """Say why a request is refused for being too much."""
        if _head_size(scope) > HEAD_LIMIT:
            return problem(HEAD_TOO_LARGE, f"URL and headers may have {HEAD_LIMIT} bytes")
        if self._open > MOST_REQUESTS:
            retry = {"Retry-After": str(RETRY_AFTER_S)}
            return problem(TOO_BUSY, "try again later", headers=retry)
        # Without a token nobody may make the service wait for anything.
        limit = 0 if scope["path"] in OPEN_PATHS else self._options.body_limit
        length = headers.get("content-length", "0")
        unannounced = limit == 0 and "transfer-encoding" in headers
        if unannounced or not length.isdecimal() or int(length) > limit:
            return _too_large(limit)
        return None

    def _bears_token(self, headers: Headers) -> bool:
        if self._token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        offered = given.strip().encode("latin-1")
        if scheme.lower() == "basic":
            # The token as the password of whatever user.
            offered = _password(offered)
        same = hmac.compare_digest(offered, self._token.encode())
        return scheme.lower() in {"basic", "bearer"} and same

    async def _body(self, receive: Receive) -> bytes | Response | None:
        """Return the body, or why it is refused; None when the client has left."""
        chunks: list[bytes] = []
        size = 0
        with anyio.move_on_after(self._options.request_deadline_s):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return None
                size += len(message.get("body", b""))
                if size > self._options.body_limit:
                    return _too_large(self._options.body_limit)
                chunks.append(message.get("body", b""))
                if not message.get("more_body", False):
                    return b"".join(chunks)
        return problem(
            TOO_SLOW, f"the body must arrive within {self._options.request_deadline_s:g} s"
        )


def _too_large(limit: int) -> Response:
    return problem(TOO_LARGE, f"a body may have {limit} bytes here")


def known_names(listen_host: str, listening: socket.socket) -> frozenset[str]:
    """Return the names by which a service that listens on a loopback address alone is addressed: as
    it was told to, and as it says itself.
    """
    given = listen_host.lower().rstrip(".")
    return frozenset({"localhost", "127.0.0.1", "::1", given, listening.getsockname()[0]})


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that gives ``body`` first, and then whatever else the client does."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay


def _head_size(scope: Scope) -> int:
    fields = sum(len(name) + len(value) for name, value in scope["headers"])
    return fields + len(scope["raw_path"]) + len(scope["query_string"])


def _password(encoded: bytes) -> bytes:
    """Return the password in HTTP Basic credentials (RFC 7617); empty when there is none."""
    try:
        return base64.b64decode(encoded, validate=True).partition(b":")[2]
    except ValueError:
        return b""


def _name(host: str) -> str:
    """Return the name in a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_cross_site(headers: Headers, host: str) -> bool:
    if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        return True
    origin = headers.get("origin")
    return origin is not None and origin not in {f"http://{host}", f"https://{host}"}


def _known_method(method: str) -> str:
    # A label for whatever somebody makes up would grow without end.
    return method if method in {"GET", "HEAD", "POST", "DELETE", "OPTIONS"} else "other"
