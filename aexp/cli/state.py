"""What the error handler must know of the command that failed."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["State"]


@dataclass(slots=True)
class State:
    """``debug`` says whether errors are shown whole."""

    debug: bool = False
