"""S3's API on a free loopback port: moto's, moto's behind a moody proxy, and canned answers."""

from __future__ import annotations

import logging
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

from moto.server import ThreadedMotoServer

SECRET = "sekret-that-nobody-prints"
# What a proxy or a canned server answers: status and body. None passes the request on.
Answer = tuple[int, str]


def environment(endpoint: str, **more: str) -> Mapping[str, str]:
    """What a process needs to talk to ``endpoint``."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        **more,
    }


def put(endpoint: str, path: str, body: bytes = b"") -> None:
    """Make a bucket or an object; moto asks nobody for a signature."""
    request = urllib.request.Request(
        f"{endpoint}/{quote(path)}",
        data=body,
        # Without it moto takes the body for a form's.
        headers={"Content-Type": "application/octet-stream"},
        method="PUT",
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


def keys(count: int) -> list[str]:
    """Keys over several prefixes."""
    return [f"part-{number % 4}/day {number % 7}/{number:05}.bin" for number in range(count)]


@contextmanager
def moto() -> Iterator[str]:
    """The endpoint of an empty S3."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    chatter = logging.getLogger("werkzeug")
    level = chatter.level
    chatter.setLevel(logging.WARNING)
    server.start()
    try:
        host, port = server.get_host_and_port()
        # What one has holds another one of this process too.
        reset = urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")
        with urllib.request.urlopen(reset) as answer:
            assert answer.status == 200
        yield f"http://{host}:{port}"
    finally:
        server.stop()
        chatter.setLevel(level)


@contextmanager
def serving(answer: Callable[[str], Answer]) -> Iterator[str]:
    """The endpoint of a server that answers each GET as ``answer`` says of its path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = answer(self.path)
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def proxy(endpoint: str, mood: Callable[[str], Answer | None]) -> Iterator[str]:
    """The endpoint of a server that asks ``mood`` of each path, and ``endpoint`` if it has none."""

    def answer(path: str) -> Answer:
        refused = mood(path)
        if refused is not None:
            return refused
        with urllib.request.urlopen(endpoint + path) as passed:
            return passed.status, passed.read().decode()

    with serving(answer) as address:
        yield address


def error(code: str) -> str:
    """What S3 says with an error."""
    return f"<Error><Code>{code}</Code><Message>no</Message><Key>AKIAEXAMPLE</Key></Error>"


@contextmanager
def silence() -> Iterator[str]:
    """The endpoint of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def nobody() -> str:
    """An endpoint where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
