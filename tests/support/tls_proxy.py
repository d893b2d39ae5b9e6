"""PostgreSQL behind TLS. The embedded server is built without it, so a proxy ends it."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from socketserver import BaseRequestHandler, ThreadingTCPServer

__all__ = ["TlsProxy", "behind_tls"]

# PostgreSQL 18, 54.2.11 and 54.2.12: codes that the first message may have in place of a version.
_SSL, _GSS = 80877103, 80877104
_CHUNK = 65536


@dataclass
class TlsProxy:
    """Where it listens, and how many sessions came to it with TLS and without."""

    port: int = 0
    encrypted: int = 0
    refused: int = 0


@contextmanager
def behind_tls(path: str, context: ssl.SSLContext) -> Iterator[TlsProxy]:
    """A proxy to the server that listens on the unix socket ``path``; it takes only TLS."""
    proxy = TlsProxy()

    class Session(BaseRequestHandler):
        def handle(self) -> None:
            client: socket.socket = self.request
            # Clients leave as they like, those that do not trust us in the handshake.
            with contextlib.suppress(OSError):
                if _asks_for_tls(client):
                    with context.wrap_socket(client, server_side=True) as encrypted:
                        proxy.encrypted += 1
                        _relay(encrypted, path)
                else:
                    proxy.refused += 1
                    words = b"SFATAL\0C28000\0Mno encryption\0\0"
                    client.sendall(b"E" + struct.pack("!i", len(words) + 4) + words)

    class Server(ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Session) as server:
        proxy.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()


def _asks_for_tls(client: socket.socket) -> bool:
    while True:
        first = client.recv(8, socket.MSG_WAITALL)
        if len(first) < 8:
            raise ConnectionResetError("the client has left")
        length, code = struct.unpack("!ii", first)
        if (length, code) == (8, _GSS):
            client.sendall(b"N")
        elif (length, code) == (8, _SSL):
            client.sendall(b"S")
            return True
        else:
            return False


def _relay(client: ssl.SSLSocket, path: str) -> None:
    """Carry bytes both ways until either side ends. One thread: a TLS socket is not for two."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, (client, server))
            selector.register(server, selectors.EVENT_READ, (server, client))
            while True:
                for key, _ in selector.select():
                    source, target = key.data
                    data = source.recv(_CHUNK)
                    if not data:
                        return
                    target.sendall(data)
                    # What TLS has decrypted already no selector sees.
                    while source is client and client.pending():
                        target.sendall(client.recv(_CHUNK))
