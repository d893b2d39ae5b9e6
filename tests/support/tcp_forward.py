"""A server of PostgreSQL that is reached by TCP, and goes away when a test says so."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from socketserver import BaseRequestHandler, ThreadingTCPServer

from aexp.database import DatabaseUrl

__all__ = ["Forward", "forwarded"]

_CHUNK = 65536


@dataclass
class Forward:
    """Where it listens; ``cut`` ends it, and every connection through it."""

    url: DatabaseUrl
    listening: ThreadingTCPServer
    open: list[socket.socket] = field(default_factory=list)

    def cut(self) -> None:
        """Refuse connections from now on, and end those that there are."""
        self.listening.shutdown()
        self.listening.server_close()
        for connection in self.open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def forwarded(server: DatabaseUrl) -> Iterator[Forward]:
    """Reach ``server``, which listens on a unix socket, by TCP."""
    path = f"{server.socket_folder}/.s.PGSQL.{server.parsed.port or 5432}"

    class Session(BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as behind:
                behind.connect(path)
                forward.open += [self.request, behind]
                back = threading.Thread(target=_pump, args=(behind, self.request), daemon=True)
                back.start()
                _pump(self.request, behind)
                back.join()

    class Listening(ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 64

    with Listening(("127.0.0.1", 0), Session) as listening:
        parsed = server.parsed.set(host="127.0.0.1", port=listening.server_address[1], query={})
        forward = Forward(DatabaseUrl(parsed), listening)
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        try:
            yield forward
        finally:
            forward.cut()


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Carry bytes one way until either side ends, and end both."""
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
