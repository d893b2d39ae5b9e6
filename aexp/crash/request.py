"""What is to be explored, how far that has come, and why it could not be."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aexp.crash.experiment.user_databases import UserDatabase
from aexp.crash.experiment.workers import TAKEN_VARIABLES, Surroundings, TargetCode
from aexp.crash.http.stub import HttpStub
from aexp.crash.judge.durations import Down
from aexp.crash.judge.points import SIDES, Point, Side
from aexp.crash.judge.worlds import World
from aexp.crash.proxy.writes import Write
from aexp.crash.results import PointOutcome, PointResult, Study
from aexp.errors import AexpError, Interrupted, UsageError
from aexp.model.scenario import Scenario

__all__ = [
    "ExplorationProgress",
    "ExplorationRequest",
    "NothingToExplore",
    "Unexplored",
    "is_point",
]

_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class NothingToExplore(AexpError):
    """The baseline shows no write at which anything could be killed."""


class Unexplored(AexpError):
    """A signal came before there was anything to report (exit code 130)."""

    exit_code = Interrupted.exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplorationRequest:
    """What is to be explored. ``points`` None means all of them; ``replay`` is the only one.

    Workers find it by its ``target``; people do by its ``place``, where that says more.

    ``deadline_s`` is how long each worker may take, None as long as seems fit for the run.

    ``double`` is how many pairs of kills there are at most, None for all, ``postgres`` how many
    points at which the server is stopped, and ``zombie`` how many at which the executor is stopped
    and another one takes over. With ``stranded`` the wrong process is started, too, after a kill.
    ``down`` are seconds for which nothing lives after a kill, too, or DEADLINES: until just before,
    and just after, each deadline of the run.
    ``template`` names a database with the tables that the workflow needs, of which each experiment
    gets a copy, as it does of each of the ``user_databases``. With ``allow_outside`` workers may
    connect to any other server. ``http`` are stubs of services, by the environment variables that
    are to have their addresses. ``expect_error``: without a fault the workflow ends in error, as it
    should. What stands in ``ignored_tables`` is compared with nothing; the steps ``once`` must
    never begin in two processes. The points that are ``first`` are, whether they would be chosen or
    not. ``surroundings`` are what workers find around them, None where that is as here. With
    ``worlds`` it is tried whether a replay diverges where these are otherwise, and nothing else;
    with ``later`` whether runs that are in flight go on under that code.
    """

    target: str
    place: str = ""
    scenario: Scenario[Any]
    parameters: Any
    sides: Sequence[Side] = SIDES
    points: int | None = None
    seed: int = 0
    jobs: int = 2
    all_writes: bool = False
    deadline_s: float | None = None
    double: int | None = 0
    postgres: int | None = 0
    stranded: bool = False
    zombie: int | None = 0
    down: Sequence[Down] = ()
    replay: Point | None = None
    template: str | None = None
    expect_error: bool = False
    ignored_tables: Sequence[str] = ()
    once: Sequence[str] = ()
    user_databases: Sequence[UserDatabase] = ()
    allow_outside: bool = False
    http: Mapping[str, HttpStub] = field(default_factory=dict)
    command: Sequence[str] = ()
    first: Sequence[Point] = ()
    surroundings: Surroundings | None = None
    worlds: frozenset[World] | None = None
    later: TargetCode | None = None

    @property
    def study(self) -> Study:
        """What is tried of the workflow."""
        if self.later is not None:
            return "upgrade"
        return "crash" if self.worlds is None else "determinism"

    @property
    def stops_server(self) -> bool:
        """Whether it takes a server that may be stopped."""
        return self.postgres != 0 or (self.replay is not None and self.replay.stops_server)

    def __post_init__(self) -> None:
        taken = {*TAKEN_VARIABLES, *(database.variable for database in self.user_databases)}
        for name in self.http:
            if name in taken or not _VARIABLE.fullmatch(name):
                why = "has another meaning" if name in taken else "is no name of a variable"
                raise UsageError(f"a stub needs an environment variable, and {name!r} {why}")
        if self.replay is not None and (
            (self.replay.worlds is None) != (self.worlds is None)
            or (self.replay.down_s is not None and self.study != "crash")
        ):
            command = "crash" if self.replay.worlds is None else "determinism"
            raise UsageError(
                f"{str(self.replay)!r} is a point of `aexp {command}`: replay it there"
            )
        chooses = {
            "--points": self.points is not None,
            "--sides": set(self.sides) != set(SIDES),
            "--double": self.double != 0,
            "--postgres": self.postgres != 0,
            "--stranded": self.stranded,
            "--zombie": self.zombie != 0,
            "--down": bool(self.down),
        }
        if self.replay is not None and (chosen := [name for name in chooses if chooses[name]]):
            raise UsageError(
                f"--replay is one point, and {', '.join(chosen)} would choose others: leave one out"
            )
        if self.double != 0 and not any(side.kills for side in self.sides):
            raise UsageError("--double kills a second time: give --sides before or after too")


@dataclass(slots=True)
class ExplorationProgress:
    """How far an exploration has come, for whoever watches."""

    doing: str = "starting"
    planned: int | None = None
    verdicts: Counter[PointOutcome] = field(default_factory=Counter)
    began_at: float | None = None

    @property
    def done(self) -> int:
        """Points that are decided."""
        return self.verdicts.total()

    def count(self, result: PointResult) -> None:
        """Count one more result."""
        self.verdicts[result.verdict] += 1


def is_point(write: Write, *, all_writes: bool) -> bool:
    """Return whether a fault is to strike at ``write``: at what workflows do, and with
    ``all_writes`` at bookkeeping, too.
    """
    return all_writes or not write.bookkeeping
