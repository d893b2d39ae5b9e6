"""The stub itself: an HTTP server on a free port of loopback, in this process.

It outlives whoever calls it: a request counts once it came in whole, whether or not the sender
lives to read the answer.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from aiohttp import web

from aexp.crash.http.file import read_routes
from aexp.crash.http.received import ReceivedRequest
from aexp.crash.http.routes import HttpAnswer, HttpRoute

__all__ = ["HttpStub", "ServedStub", "serve_all"]

_KEY = "Idempotency-Key"
_HOST = "127.0.0.1"
# Who has been killed waits for no answer.
_CLOSE_TIMEOUT_S = 0.05
_LARGEST_BODY = 64 * 1024 * 1024
_MOST_BYTES_KEPT = 16 * 1024
_MOST_REQUESTS = 10_000


@dataclass(frozen=True, slots=True)
class HttpStub:
    """What a service answers: by the first of ``routes`` that takes a request, else 404.

    ``source`` is where they are from, for messages.
    """

    routes: Sequence[HttpRoute]
    source: str = "the stub"

    @classmethod
    def from_file(cls, path: Path | str) -> HttpStub:
        """Read the routes of a YAML file. Raises BadInput, with the line of what is wrong."""
        return cls(read_routes(Path(path)), str(path))

    @asynccontextmanager
    async def serve(
        self, name: str = "", *, sender: Callable[[], int | None] = lambda: None
    ) -> AsyncIterator[ServedStub]:
        """Serve on a port of its own until the context ends, with no request answered yet.

        Requests are noted as those of the stub ``name``, and of the life that ``sender`` tells.
        """
        served = ServedStub(self, name, sender)
        application = web.Application(client_max_size=_LARGEST_BODY)
        application.router.add_route("*", "/{path:.*}", served.answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=_CLOSE_TIMEOUT_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, _HOST, 0).start()
            port = runner.addresses[0][1]
            served.address = f"{_HOST}:{port}"
            yield served
        finally:
            with anyio.CancelScope(shield=True):
                await runner.cleanup()


@dataclass(slots=True)
class ServedStub:
    """A stub that is being served, at ``address``, and the ``requests`` that came in, in order."""

    stub: HttpStub
    name: str
    sender: Callable[[], int | None]
    address: str = ""
    requests: list[ReceivedRequest] = field(default_factory=list)
    _answered: Counter[int] = field(default_factory=Counter)
    # By the number of the route and the key.
    _kept: dict[tuple[int, str], HttpAnswer] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where it answers, ``http://127.0.0.1:PORT``."""
        return f"http://{self.address}"

    async def answer(self, request: web.Request) -> web.Response:
        """Note the request, and answer it."""
        content = await request.read()
        key = request.headers.get(_KEY)
        method, path = request.method, request.raw_path
        route = next((route for route in self.stub.routes if route.takes(method, path)), None)
        if len(self.requests) >= _MOST_REQUESTS:
            return _response(_full())
        replayed = False
        if route is None:
            answer = self._missing(method, path)
        else:
            answer, replayed = self._choose(route, key)
        self.requests.append(
            ReceivedRequest(
                stub=self.name,
                method=method,
                path=path,
                body=_text(content),
                key=key,
                at=time.monotonic(),
                route=None if route is None else route.path,
                status=answer.status,
                replayed=replayed,
                safe=route is not None and route.safe,
                life=self.sender(),
            )
        )
        await anyio.sleep(answer.delay_s)
        return _response(answer)

    def _choose(self, route: HttpRoute, key: str | None) -> tuple[HttpAnswer, bool]:
        """Return the answer of a route, and whether it is the one that was given to the key."""
        number = self.stub.routes.index(route)
        if key is not None and (number, key) in self._kept:
            return self._kept[number, key], True
        answer = route.answers[min(self._answered[number], len(route.answers) - 1)]
        self._answered[number] += 1
        # A service that fails has not done what it was asked for.
        if route.idempotent and key is not None and answer.status < 500:
            self._kept[number, key] = answer
        return answer, False

    def _missing(self, method: str, path: str) -> HttpAnswer:
        return HttpAnswer(
            status=404,
            json={
                "error": f"{self.stub.source} has no route for {method} {path.partition('?')[0]}:"
                " add one",
                "routes": [str(route) for route in self.stub.routes],
            },
        )


@asynccontextmanager
async def serve_all(
    stubs: Mapping[str, HttpStub], *, sender: Callable[[], int | None] = lambda: None
) -> AsyncIterator[Mapping[str, ServedStub]]:
    """Serve each stub under its name, see :meth:`HttpStub.serve`."""
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(stub.serve(name, sender=sender))
            for name, stub in stubs.items()
        }


def _full() -> HttpAnswer:
    return HttpAnswer(
        status=503, json={"error": f"a stub takes {_MOST_REQUESTS} requests of one run at most"}
    )


def _response(answer: HttpAnswer) -> web.Response:
    headers = dict(answer.headers)
    typed = any(name.lower() == "content-type" for name in headers)
    if answer.content_type is not None and not typed:
        headers["Content-Type"] = answer.content_type
    return web.Response(status=answer.status, headers=headers, body=answer.content)


def _text(content: bytes) -> str:
    text = content[:_MOST_BYTES_KEPT].decode(errors="backslashreplace")
    if len(content) <= _MOST_BYTES_KEPT:
        return text
    digest = hashlib.sha256(content).hexdigest()
    return f"{text}… {len(content)} bytes, SHA-256 {digest}"
