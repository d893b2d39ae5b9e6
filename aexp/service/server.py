"""The process that serves: listen, serve until told to stop, drain, end."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import anyio
import anyio.to_thread
import h11
import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from aexp.errors import UsageError
from aexp.model.scenario import Scenario
from aexp.processes.signals import stop_on_signals
from aexp.service.app import create_app
from aexp.service.middleware import HEAD_LIMIT
from aexp.service.options import ServiceOptions
from aexp.service.problems import MEDIA_TYPE, of_status
from aexp.service.state import Service

__all__ = ["address", "is_loopback", "listen", "serve"]

KEEP_ALIVE_S = 5
BACKLOG = 256
# Answers under way have so long to end when the service stops.
GRACE_S = 10

log = structlog.stdlib.get_logger("aexp.service")


def listen(host: str, port: int) -> socket.socket:
    """Open a socket that listens on ``host``; port 0 lets the system choose. Raises UsageError."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(where)
            listening.listen(BACKLOG)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return listening


def is_loopback(listening: socket.socket) -> bool:
    """Return whether only this machine reaches the socket."""
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def address(listening: socket.socket) -> str:
    """Return the URL of the socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Protocol(H11Protocol):
    """HTTP/1.1 whose clients must get their requests' heads across in time."""

    deadline_s = 10.0
    _overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect_head()

    def _expect_head(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
        self._overdue = self.loop.call_later(self.deadline_s, self._close_when_headless)

    def _close_when_headless(self) -> None:
        if self.conn.their_state is h11.IDLE:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP with a problem too."""
        kind = of_status(400)
        body = json.dumps(
            {"type": kind.type, "title": kind.title, "status": kind.status, "detail": msg}
        ).encode()
        headers = [
            ("content-type", MEDIA_TYPE),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        with contextlib.suppress(h11.LocalProtocolError):
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class _Server(uvicorn.Server):
    """Serves until its service is told to stop. Signals are not its affair."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # It writes to a pipe that somebody may not read.
        await anyio.to_thread.run_sync(self._ready)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    options: ServiceOptions,
    scenarios: Mapping[str, Scenario[Any]],
    listening: Sequence[socket.socket],
    ready: Callable[[], None],
    end_at_once: Callable[[], NoReturn],
) -> None:
    """Serve on ``listening`` until a signal or a request ends it; the runs' processes drain.

    ``ready`` is called when requests are answered, and ``end_at_once`` at a second signal, when the
    runs' processes have been killed. Raises what the host of the runs failed with.
    """
    app = create_app(options, scenarios)
    service: Service = app.state.service
    protocol = type("_Protocol", (_Protocol,), {"deadline_s": options.request_deadline_s})
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
        # While a head is not there in whole; one that comes at once meets the same limit later.
        h11_max_incomplete_event_size=HEAD_LIMIT,
    )
    server = _Server(config, ready)

    def kill_and_end() -> None:
        if service.opened is not None:
            service.opened.kill()
        end_at_once()

    async with stop_on_signals(kill_and_end) as signalled, anyio.create_task_group() as group:

        async def pass_on() -> None:
            await signalled.event.wait()
            service.stop.ask()

        async def stop_serving() -> None:
            await service.stop.event.wait()
            active = service.opened.active if service.opened is not None else ()
            log.info("service.stopping", active_runs=len(active))
            server.should_exit = True

        group.start_soon(pass_on)
        group.start_soon(stop_serving)
        try:
            await server.serve(list(listening))
        except SystemExit as ended:
            # The server's answer to a lifespan that did not begin.
            raise service.failure or ended from None
        group.cancel_scope.cancel()
    if service.failure is not None:
        raise service.failure
    log.info("service.stopped")
