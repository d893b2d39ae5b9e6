"""A token endpoint on loopback, and the client that asks it, or another one, for a token.

The request and the answer are those of OAuth 2.0 (RFC 6749, 4.4 and 5.1), without authentication of
the client. Importing this imports aiohttp, which takes half a second.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NoReturn
from urllib.parse import urlsplit

import aiohttp
import anyio
from aiohttp import web

from aexp.scenarios.credentials.cache import Credential, CredentialsUnavailable

__all__ = ["DescriptionRefused", "TokenClient", "open_client", "serve"]

HOST = "127.0.0.1"
SHUTDOWN_S = 1.0
# What is longer is no answer of a token endpoint.
LONGEST_ANSWER = 64 * 1024
# What is shorter cannot be told from other text, in a table or in a log.
SHORTEST_TOKEN = 8
# RFC 6750, 2.1: what can stand in an Authorization header.
_BEARER = re.compile(r"[A-Za-z0-9\-._~+/]+=*")


class DescriptionRefused(Exception):
    """A user could not be described; trying again may succeed."""


class _Endpoint:
    """Issues bearer tokens that carry ``marker``, and describes users to who presents one."""

    def __init__(self, marker: str, ttl_s: float) -> None:
        self._marker = marker
        self._ttl_s = ttl_s
        self._issued: set[str] = set()

    async def issue(self, _request: web.Request) -> web.Response:
        token = f"{self._marker}.{secrets.token_urlsafe(24)}"
        self._issued.add(token)
        return web.json_response(
            {"access_token": token, "token_type": "Bearer", "expires_in": self._ttl_s},
            headers={"Cache-Control": "no-store"},
        )

    async def describe(self, request: web.Request) -> web.Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self._issued:
            return web.json_response({"error": "invalid_token"}, status=401)
        return web.json_response(_describe(request.match_info["user"]))


def _describe(user: str) -> Mapping[str, Any]:
    page, _, number = user.partition(".")
    return {"user": user, "description": f"user {number} of page {page}"}


@asynccontextmanager
async def serve(marker: str, ttl_s: float) -> AsyncIterator[str]:
    """Serve ``/token`` and ``/users/PAGE.NUMBER`` on a free port of loopback; the URL before them.

    Each token begins with ``marker`` and is valid as long as the endpoint lives; ``ttl_s`` is what
    it says of their life.
    """
    endpoint = _Endpoint(marker, ttl_s)
    application = web.Application()
    application.router.add_post("/token", endpoint.issue)
    application.router.add_get("/users/{user}", endpoint.describe)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        yield f"http://{HOST}:{runner.addresses[0][1]}"
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


class TokenClient:
    """Fetches tokens from ``token_url``, and descriptions from ``users_url`` if there is one.

    A token lives ``ttl_s``, or as long as the endpoint says if that is shorter, from the moment in
    which it was asked for.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        token_url: str,
        users_url: str | None,
        *,
        ttl_s: float,
        deadline_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._token_url = token_url
        self._users_url = users_url
        self._ttl_s = ttl_s
        self._deadline_s = deadline_s
        self._clock = clock
        parts = urlsplit(token_url)
        # Without the query, in which some write a key.
        self._name = f"token endpoint {parts.scheme}://{parts.netloc}{parts.path}"

    async def fetch(self) -> Credential:
        """Fetch fresh credentials; raises CredentialsUnavailable, whose text says what to do."""
        fetched_at = self._clock()
        try:
            status, body = await self._ask()
        except TimeoutError as error:
            raise CredentialsUnavailable(
                f"{self._name} gave no answer within {self._deadline_s:g} s:"
                " see what holds it up, or raise deadline_s"
            ) from error
        except aiohttp.ClientConnectionError as error:
            raise CredentialsUnavailable(
                f"{self._name} cannot be reached ({_reason(error)}): start it, or correct token_url"
            ) from error
        except aiohttp.ClientError as error:
            raise CredentialsUnavailable(
                f"{self._name} does not speak HTTP ({type(error).__name__}): correct token_url"
            ) from error
        if status != 200:
            raise CredentialsUnavailable(f"{self._name} {_refusal(status)}")
        token, lives_s = self._read(body)
        return Credential(
            token, fetched_at=fetched_at, expires_at=fetched_at + min(self._ttl_s, lives_s)
        )

    async def _ask(self) -> tuple[int, bytes]:
        body = bytearray()
        # A redirect could lead the answer, or the next request's secret, to another host.
        async with self._session.post(
            self._token_url,
            data={"grant_type": "client_credentials"},
            headers={"Accept": "application/json"},
            allow_redirects=False,
        ) as response:
            async for chunk in response.content.iter_chunked(8192):
                body += chunk
                if len(body) > LONGEST_ANSWER:
                    self._garbage(f"more than {LONGEST_ANSWER} bytes")
            return response.status, bytes(body)

    def _read(self, body: bytes) -> tuple[str, float]:
        """Read the token in an answer, and how many seconds it lives. No error shows the answer."""
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            # Not chained: the error holds the whole answer.
            self._garbage("what is no JSON")
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str):
            self._garbage("no access_token")
        if str(answer.get("token_type", "bearer")).lower() != "bearer":
            self._garbage("a token that is not of the type Bearer")
        if not _BEARER.fullmatch(token):
            self._garbage("an access_token that cannot stand in a header")
        if len(token) < SHORTEST_TOKEN:
            self._garbage(f"an access_token of fewer than {SHORTEST_TOKEN} characters, no secret")
        lives_s = answer.get("expires_in")
        if isinstance(lives_s, bool) or not isinstance(lives_s, (int, float)):
            return token, math.inf
        return token, max(0.0, lives_s) if math.isfinite(lives_s) else math.inf

    def _garbage(self, what: str) -> NoReturn:
        raise CredentialsUnavailable(
            f"{self._name} answered with {what}: correct token_url, or mend the endpoint"
        ) from None

    async def describe(self, user: str, credential: Credential) -> Mapping[str, Any]:
        """Return what the endpoint says of ``user``; raises DescriptionRefused.

        An endpoint that is not ours knows no users: then this needs no request.
        """
        if self._users_url is None:
            return _describe(user)
        headers = {"Authorization": f"Bearer {credential.reveal()}"}
        try:
            async with self._session.get(
                f"{self._users_url}/{user}", headers=headers, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise DescriptionRefused(f"user {user} was refused with {response.status}")
                described: Mapping[str, Any] = await response.json()
                return described
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise DescriptionRefused(f"user {user}: {type(error).__name__}") from error


def _reason(error: aiohttp.ClientConnectionError) -> str:
    if isinstance(error, aiohttp.ClientSSLError):
        return "its certificate or its TLS is not accepted"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its host name is unknown"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return "the connection was lost"


def _refusal(status: int) -> str:
    if 300 <= status < 400:
        return f"redirects ({status}), which is not followed: give the URL that it leads to"
    if status in {401, 403}:
        return f"refuses to give a token ({status}): let it give one without authentication"
    if status >= 500:
        return f"failed ({status}): see its log"
    return f"answered {status}: correct token_url"


@asynccontextmanager
async def open_client(
    token_url: str, users_url: str | None, *, ttl_s: float, deadline_s: float
) -> AsyncIterator[TokenClient]:
    """Open a client for the life of the context; each request ends within ``deadline_s``.

    It goes through no proxy of the environment and keeps no cookies.
    """
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=deadline_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    ) as session:
        yield TokenClient(session, token_url, users_url, ttl_s=ttl_s, deadline_s=deadline_s)
