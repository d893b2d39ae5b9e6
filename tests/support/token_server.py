"""A foreign token endpoint on a free loopback port, in good and in bad moods."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "a-foreign-secret.0123456789+/~=="  # a test's


@dataclass
class Endpoint:
    """A foreign endpoint: its answer follows from the path of the request."""

    url: str = ""
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    refusals: int = 0
    let_go: threading.Event = field(default_factory=threading.Event)

    def answer(self, path: str) -> tuple[int, bytes]:
        good = {"access_token": TOKEN, "token_type": "bearer", "expires_in": 3600}
        answers: dict[str, tuple[int, Any]] = {
            "/good": (200, good),
            "/short-lived": (200, {**good, "expires_in": 0}),
            "/forever": (200, {**good, "expires_in": "never"}),
            "/garbage": (200, b"<html>\xff"),
            "/deep": (200, b"[" * 60_000),
            "/list": (200, [TOKEN]),
            "/no-token": (200, {"token": TOKEN}),
            "/number": (200, {**good, "access_token": 12345678}),
            "/lines": (200, {**good, "access_token": f"{TOKEN}\r\nX-Injected: 1"}),
            "/short": (200, {**good, "access_token": "1234567"}),
            "/mac": (200, {**good, "token_type": "mac"}),
            "/huge": (200, b" " * 100_000),
            "/empty": (200, b""),
        }
        if path == "/refuses-at-first" and self.refusals:
            self.refusals -= 1
            return 503, b""
        if path.removeprefix("/").isdigit():
            return int(path.removeprefix("/")), TOKEN.encode()
        status, body = answers.get(path, (200, good))
        return status, body if isinstance(body, bytes) else json.dumps(body).encode()


@contextmanager
def endpoint() -> Iterator[Endpoint]:
    """Serve an :class:`Endpoint` on a free port of loopback."""
    served = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            served.asked.append(self.path)
            served.headers.append(dict(self.headers))
            if self.path == "/hang":
                served.let_go.wait()
                return
            status, body = served.answer(self.path.partition("?")[0])
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", f"{served.url}/good")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its base's
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            # Who asked has not waited for the answer, which is what some tests are about.
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        served.url = f"http://127.0.0.1:{server.server_address[1]}"
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield served
        finally:
            served.let_go.set()
            server.shutdown()
            serving.join()
