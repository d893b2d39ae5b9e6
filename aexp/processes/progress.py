"""How far a run has come, as this process sees it: counted in memory, so it costs no commit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Progress", "Reached", "Snapshot"]


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a run has come, whichever processes did it: ``done`` of ``total`` units (None:
    unknown).
    """

    done: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``done`` of ``total`` units (None: unknown), step bodies begun, the scenario's memory."""

    done: int
    total: int | None
    steps: int
    memory: Mapping[str, Any] | None


class Progress:
    """Counts units of work and step bodies. Thread-safe; observers are told after each change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done = 0
        self._own = 0
        self._total: int | None = None
        self._steps = 0
        self._observers: list[Callable[[], None]] = []
        self._memory: Callable[[], Mapping[str, Any]] | None = None

    def begin(self, *, total: int | None, done: int = 0) -> None:
        """Set out to do ``total`` units, of which ``done`` were before this process started."""
        with self._lock:
            self._total, self._done = total, done
        self._tell()

    def advance(self, units: int = 1) -> None:
        """Count ``units`` more as done by this process."""
        with self._lock:
            self._done += units
            self._own += units
        self._tell()

    def step_began(self) -> None:
        """Count one more step body that runs."""
        with self._lock:
            self._steps += 1
        self._tell()

    @property
    def own(self) -> int:
        """Units done by this process alone."""
        return self._own

    def remember(self, memory: Callable[[], Mapping[str, Any]]) -> None:
        """Remember to ask ``memory`` what the scenario holds in memory, as JSON values."""
        self._memory = memory

    def observe(self, observer: Callable[[], None]) -> None:
        """Call ``observer`` after each change, on whatever thread made it."""
        self._observers.append(observer)

    def snapshot(self) -> Snapshot:
        """Return the state of this moment."""
        memory = self._memory() if self._memory is not None else None
        with self._lock:
            return Snapshot(self._done, self._total, self._steps, memory)

    def _tell(self) -> None:
        for observer in self._observers:
            observer()
