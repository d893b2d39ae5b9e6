"""What a test chooses of an exploration, and the request that comes of it."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel

from aexp.crash.command import replay_command
from aexp.crash.experiment.user_databases import find_user_databases
from aexp.crash.experiment.workers import TargetCode
from aexp.crash.http.stub import HttpStub
from aexp.crash.judge.durations import parse_down
from aexp.crash.judge.points import SIDES, Side, parse_point
from aexp.crash.judge.worlds import ALL_WORLDS, World, parse_worlds
from aexp.crash.request import ExplorationRequest
from aexp.crash.results import Study
from aexp.errors import UsageError
from aexp.model.plain import to_text
from aexp.settings import Settings
from aexp.testing.naming import NamedScenario, brief_path

__all__ = [
    "Downtimes",
    "ExploreOptions",
    "OldCode",
    "Points",
    "Sides",
    "Stub",
    "Worlds",
    "check_names",
    "make_request",
    "read_points",
    "read_seed",
]

Sides: TypeAlias = str | Sequence[str]
Points: TypeAlias = int | Literal["all"]
Worlds: TypeAlias = str | Sequence[str]
OldCode: TypeAlias = str | os.PathLike[str]
Downtimes: TypeAlias = str | Sequence[str]
Stub: TypeAlias = HttpStub | str | os.PathLike[str]

# A lost acknowledgement costs the most, and seldom finds what these do not.
_SIDES = (Side.BEFORE, Side.AFTER)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExploreOptions:
    """The options of :func:`aexp.testing.explore`, as they were given: those of ``aexp crash``.

    ``sides`` of each write (before and after), at most so many ``points`` (all), chosen by
    ``seed``; ``double``, ``zombie`` and ``postgres`` are how many further points there are of these
    kinds; ``down`` are times for which nothing lives after a kill, ``"3d"`` or ``"deadlines"``.
    ``replay`` is the only point; those that are ``first`` are tried before others. ``http``
    has a stub or the file of its routes by the variable that is to have its address. ``template``
    names another database to copy. With ``worlds`` (``"all"``, or some of ``clock``, ``random``,
    ``hashes``, ``order`` and ``environment``) it is replayed where these are otherwise, as ``aexp
    determinism`` does. With ``since``, which names old code, runs begin under that and go on under
    the code as it is now, as ``aexp upgrade`` does: a revision of git, or a folder or file.
    """

    sides: Sides | None = None
    points: Points | None = None
    seed: int = 0
    double: Points = 0
    zombie: Points = 0
    postgres: Points = 0
    down: Downtimes = ()
    stranded: bool = False
    all_writes: bool = False
    replay: str | None = None
    first: Sequence[str] = ()
    once: Sequence[str] = ()
    ignore_tables: Sequence[str] = ()
    expect_error: bool = False
    http: Mapping[str, Stub] = field(default_factory=dict)
    database_env: Sequence[str] = ()
    allow_outside: bool = False
    deadline_s: float | None = None
    jobs: int | None = None
    template: str | None = None
    worlds: Worlds | None = None
    since: OldCode | None = None

    @property
    def origin(self) -> str | None:
        """Where the old code is, as ``aexp upgrade --from`` takes it.

        Raises UsageError for what names none, and where another study is asked for, too.
        """
        if self.since is None:
            return None
        if self.worlds is not None:
            raise UsageError("worlds and since are explored one at a time: leave one out")
        # A test is seldom checked by mypy.
        since: object = self.since
        if not isinstance(since, str | os.PathLike) or not os.fspath(since):
            raise UsageError(f"since={since!r} is no revision of git and no path")
        if not isinstance(since, str) and not Path(since).exists():
            raise UsageError(f"since: there is no file or folder {since}")
        return brief_path(os.fspath(since))

    def check_unambiguous(self, called: str, workflow: Any, by_position: int) -> None:
        """Raise UsageError where an option that was chosen may be meant for the workflow, to which
        so many arguments are given by position.
        """
        arguments = list(inspect.signature(workflow).parameters)[by_position:]
        unchosen = ExploreOptions()
        for option in dataclasses.fields(self):
            name = option.name
            if name in arguments and getattr(self, name) != getattr(unchosen, name):
                raise UsageError(
                    f"{called} takes {name!r} itself, and so does explore(): give the workflow's by"
                    " position"
                )


def check_names(args: tuple[Any, ...], given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return options that a marker gives; raises UsageError for what is none."""
    known = [option.name for option in dataclasses.fields(ExploreOptions)]
    if args:
        raise UsageError(f"the marker aexp takes options by name, and not {args[0]!r}")
    for name in given:
        if name not in known:
            raise UsageError(f"the marker aexp takes no {name!r}: it takes {', '.join(known)}")
    return given


def read_points(text: str) -> Points:
    """Read a number of points, or ``all``."""
    if text == "all":
        return "all"
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"aexp-points: {text!r} is neither a number from 1 on nor 'all'")
    return int(text)


def read_seed(text: str) -> int:
    """Read a seed."""
    try:
        return int(text)
    except ValueError as error:
        raise UsageError(f"aexp-seed: {text!r} is no number") from error


def make_request(
    named: NamedScenario,
    parameters: BaseModel,
    options: ExploreOptions,
    settings: Settings,
    code: TargetCode,
    later: TargetCode | None,
    template: str,
    told_template: str | None,
) -> ExplorationRequest:
    """Make the request that ``options`` ask for, which copies the database ``template``: runs begin
    under ``code``, and go on under the ``later`` one where there is one.

    ``told_template`` is what a person in a shell would give for that database. Raises UsageError
    for an option that has no meaning.
    """
    worlds = None if options.worlds is None else _worlds(options.worlds)
    replay = None if options.replay is None else parse_point(options.replay)
    command: Study = "upgrade" if later else "crash" if worlds is None else "determinism"
    chooses = replay is None
    kills = chooses and command == "crash"
    stubs = {name: _stub(name, given) for name, given in options.http.items()}
    chosen = _named_alike(options)
    told: dict[str, Any] = {
        "variables": options.database_env,
        "stubs": {name: stub.source for name, stub in stubs.items()},
        "template": told_template,
    }
    if options.since is not None:
        told["origin"] = options.origin
    return ExplorationRequest(
        target=code.target,
        place=named.place,
        scenario=named.scenario,
        parameters=parameters,
        sides=_sides(options.sides) if kills else SIDES,
        points=_most("points", options.points, least=1) if chooses else None,
        double=_most("double", options.double) if kills else 0,
        zombie=_most("zombie", options.zombie) if kills else 0,
        postgres=_most("postgres", options.postgres) if kills else 0,
        down=[parse_down(text) for text in _listed(options.down)] if kills else (),
        stranded=options.stranded and kills,
        replay=replay,
        first=[parse_point(text) for text in options.first],
        worlds=worlds,
        jobs=options.jobs or os.cpu_count() or 1,
        user_databases=find_user_databases(_names("database_env", options.database_env)),
        http=stubs,
        command=replay_command(
            settings,
            command,
            named.brief_place,
            _texts(parameters),
            {**chosen, **told},
        ),
        surroundings=code.surroundings,
        later=later,
        template=template,
        **chosen,
    )


def _named_alike(options: ExploreOptions) -> dict[str, Any]:
    """Return options as both a request and the command that repeats it have them."""
    return {
        "seed": options.seed,
        "all_writes": options.all_writes,
        "expect_error": options.expect_error,
        "once": _names("once", options.once),
        "ignored_tables": _names("ignore_tables", options.ignore_tables),
        "allow_outside": options.allow_outside,
        "deadline_s": options.deadline_s,
    }


def _listed(given: str | Sequence[str]) -> Sequence[str]:
    named = given.split(",") if isinstance(given, str) else given
    return [name.strip() for name in named]


def _sides(given: Sides | None) -> Sequence[Side]:
    if given is None:
        return _SIDES
    wanted = _listed(given)
    for name in wanted:
        if name not in SIDES:
            raise UsageError(f"sides: {name!r} is none of {', '.join(SIDES)}")
    return [side for side in SIDES if side in wanted]


def _worlds(given: Worlds) -> frozenset[World]:
    if given == "all":
        return ALL_WORLDS
    return parse_worlds(given if isinstance(given, str) else ",".join(given), ",")


def _most(name: str, given: Points | None, *, least: int = 0) -> int | None:
    if given is None or given == "all":
        return None
    # A test is seldom checked by mypy.
    number: object = given
    if not isinstance(number, int) or isinstance(number, bool) or number < least:
        raise UsageError(f"{name}={given!r} is neither a number from {least} on nor 'all'")
    return number


def _names(option: str, given: Sequence[str]) -> Sequence[str]:
    if isinstance(given, str):
        raise UsageError(f"{option}={given!r} is one text: give a list of names")
    return list(given)


def _stub(name: str, given: Stub) -> HttpStub:
    if isinstance(given, HttpStub):
        return given
    if isinstance(given, str | os.PathLike):
        return HttpStub.from_file(os.fspath(given))
    raise UsageError(
        f"http: {name} is {type(given).__name__}: give an HttpStub or a file of routes"
    )


def _texts(parameters: BaseModel) -> Mapping[str, str]:
    """Return parameters as ``--set`` takes them."""
    stored = parameters.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return {
        name: value if isinstance(value, str) else to_text(value) for name, value in stored.items()
    }
