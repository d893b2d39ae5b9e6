"""Workflows and steps as OpenTelemetry spans, a trace for each run, if they are asked for.

Where they go and how they are sampled is said by OpenTelemetry's own variables, which its SDK
reads; the SDK comes with the extra ``aexp[otel]``. Spans are sent in batches, as they end: a
process that is killed takes those of its last seconds along. The ledger loses nothing, and it is
what audits read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import structlog
from dbos import PropagateOtelContext

from aexp.errors import UsageError
from aexp.settings import otlp_protocol

if TYPE_CHECKING:
    from opentelemetry.context import Context

__all__ = ["begin_tracing", "current_context", "flush_spans", "start_span"]

# All that the exporter of the extra speaks.
PROTOCOL = "http/protobuf"
SERVICE_NAME = "aexp"
# What a collector that does not answer may cost at the end of a process.
_FLUSH_TIMEOUT_S = 2.0

log = structlog.stdlib.get_logger("aexp.engine.tracing")

_provider: Any = None


def begin_tracing() -> bool:
    """Record spans from now on if the environment asks for it; return whether they are recorded.

    They are when the environment asks for them, see :func:`aexp.settings.otlp_protocol`. Warns
    when that cannot be done. Raises UsageError when a variable of OpenTelemetry's is not valid.
    """
    global _provider  # noqa: PLW0603 - OpenTelemetry has one provider for a process, for good
    protocol = otlp_protocol()
    if protocol is None or _provider is not None:
        return protocol is not None
    if protocol != PROTOCOL:
        log.warning(
            "tracing.left_out",
            reason=f"traces are sent by {PROTOCOL} and not by {protocol}:"
            f" set OTEL_EXPORTER_OTLP_PROTOCOL={PROTOCOL} and the collector's port for it",
        )
        return False
    try:
        _provider = _make_provider()
    except ImportError:
        log.warning(
            "tracing.left_out", reason="OpenTelemetry's SDK is missing: pip install 'aexp[otel]'"
        )
        return False
    except ValueError as error:
        raise UsageError(f"a variable of OpenTelemetry's is not valid: {error}") from error
    return True


def _make_provider() -> Any:
    from opentelemetry import trace  # noqa: PLC0415 - 0.2 s, only when it is asked for
    from opentelemetry._logs import NoOpLoggerProvider, set_logger_provider  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.instrumentation.logging import handler as _  # noqa: F401, PLC0415
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    known = trace.get_tracer_provider()
    if not isinstance(known, trace.ProxyTracerProvider):
        # The user's own module has made one, or `opentelemetry-instrument` has.
        return known
    named = OTELResourceDetector().detect().attributes
    # Not at exit, where a collector that is gone would be waited for: see flush_spans.
    provider = TracerProvider(
        resource=Resource.create({"service.name": SERVICE_NAME, **named}), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    # Logs go to stderr, where secrets are masked. DBOS would send its own as they are, or warn
    # that it cannot.
    set_logger_provider(NoOpLoggerProvider())
    return provider


async def flush_spans() -> None:
    """Send the spans that have ended; give up when that takes long."""
    if _provider is None:
        return
    with anyio.move_on_after(_FLUSH_TIMEOUT_S, shield=True) as waiting:
        await anyio.to_thread.run_sync(_provider.force_flush, abandon_on_cancel=True)
    if waiting.cancelled_caught:
        log.warning("tracing.spans_lost", reason="the collector has not answered in time")


@contextmanager
def start_span(run_id: str) -> Iterator[None]:
    """Open the span in which a run is started: the workflows that are enqueued below it belong to
    its trace, whichever process recovers them.
    """
    if _provider is None:
        yield
        return
    span = _provider.get_tracer("aexp").start_as_current_span(
        "aexp.start", attributes={"aexp.run_id": run_id}
    )
    with span, PropagateOtelContext():
        yield


def current_context() -> Context | None:
    """Return the current span, for workflows enqueued in a transaction; None without tracing."""
    if _provider is None:
        return None
    from opentelemetry import context  # noqa: PLC0415 - see _make_provider

    return context.get_current()
