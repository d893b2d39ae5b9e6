"""An OpenTelemetry collector: takes OTLP over HTTP on a port of the system's choice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from gzip import decompress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

__all__ = ["Collector", "Span", "collecting"]


@dataclass(frozen=True)
class Span:
    """A span that has arrived."""

    name: str
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    attributes: dict[str, Any]
    resource: dict[str, Any]
    failed: bool


@dataclass
class Collector:
    """What has arrived, and where it is sent to."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    authorizations: set[str | None] = field(default_factory=set)

    def take(self, request: ExportTraceServiceRequest) -> None:
        """Keep the spans of ``request``."""
        for sent in request.resource_spans:
            resource = _plain(sent.resource.attributes)
            for scope in sent.scope_spans:
                self.spans += [
                    Span(
                        name=span.name,
                        trace_id=span.trace_id,
                        span_id=span.span_id,
                        parent_id=span.parent_span_id,
                        attributes=_plain(span.attributes),
                        resource=resource,
                        failed=span.status.code == span.status.STATUS_CODE_ERROR,
                    )
                    for span in scope.spans
                ]


def _plain(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector for the life of the context."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = decompress(body)
            collector.authorizations.add(self.headers.get("Authorization"))
            known = self.path == "/v1/traces"
            if known:
                collector.take(ExportTraceServiceRequest.FromString(body))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_args: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
