"""What is to be explored, how far that has come, and why it could not be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aexp.crash.plan import Point, Side
from aexp.crash.results import PointResult
from aexp.errors import AexpError, Interrupted
from aexp.scenario import Scenario

__all__ = ["NothingToExplore", "Request", "Tally", "Unexplored"]


class NothingToExplore(AexpError):
    """The baseline shows no write at which anything could be killed."""


class Unexplored(AexpError):
    """A signal came before there was anything to report (exit code 130)."""

    exit_code = Interrupted.exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be explored. ``points`` None means all of them; ``replay`` is the only one.

    ``double`` is how many pairs of kills there are at most, None for all. With ``stranded`` the
    wrong process is started, too, after a kill. ``template`` names a database with the tables that
    the workflow needs, of which each experiment gets a copy.
    """

    target: str
    scenario: Scenario[Any]
    parameters: Any
    sides: Sequence[Side] = tuple(Side)
    points: int | None = None
    seed: int = 0
    jobs: int = 2
    all_writes: bool = False
    deadline_s: float = 30.0
    double: int | None = 0
    stranded: bool = False
    replay: Point | None = None
    template: str | None = None
    command: Sequence[str] = ()


@dataclass(slots=True)
class Tally:
    """How far an exploration has come, for whoever watches."""

    doing: str = "starting"
    planned: int | None = None
    held: int = 0
    broken: int = 0
    void: int = 0
    began_at: float | None = None

    @property
    def done(self) -> int:
        """Points that are decided."""
        return self.held + self.broken + self.void

    def count(self, result: PointResult) -> None:
        """One more is."""
        if result.void is not None:
            self.void += 1
        elif result.broken:
            self.broken += 1
        else:
            self.held += 1
