"""The fixture ``aexp``: explorations as tests, whose findings are told as pytest tells failures."""

from __future__ import annotations

import hashlib
import inspect
import os
import shlex
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import pytest

from aexp.audit import Report
from aexp.crash.formats import render_exploration, render_finding, render_verdict, sarif_results
from aexp.crash.judge.points import Side, parse_point
from aexp.crash.results import BASELINE, Exploration, PromisesBroken
from aexp.database import DatabaseUrl
from aexp.errors import AexpError, UsageError
from aexp.testing.explorations import Explorations
from aexp.testing.outcomes import ExplorationOutcome, junit_properties
from aexp.testing.runs import check_report
from aexp.testing.typed import as_coroutine_of, as_method_of

__all__ = ["Aexp", "one_line"]

_R = TypeVar("_R")
_CACHED = "aexp/broken"
_IN_ALL = {"worlds": "all"}


class Aexp:
    """What a test gets for ``aexp``.

    ``crash`` and ``crash_sync`` fail the test where a promise is broken, each finding as a subtest;
    ``determinism`` and ``determinism_sync`` do so where a replay in another world diverges;
    ``upgrade`` and ``upgrade_sync`` where a run that began under old code does not go on;
    ``explore`` and ``explore_sync`` return what was found, whatever it is. Those without ``_sync``
    are coroutines. All take what :meth:`aexp.testing.Explorations.explore_sync` takes; what a call
    does not say is taken from the marker ``aexp`` of the test, then from the command line, then
    from the configuration of pytest. ``run`` and ``run_sync`` run a workflow once, and kill its
    process at moments that a seed draws.
    """

    def __init__(
        self,
        explorations: Explorations,
        request: pytest.FixtureRequest,
        chosen: Mapping[str, Any],
        replay: str | None,
        since: str | None,
    ) -> None:
        self.outcomes: list[ExplorationOutcome] = []
        self._explorations = explorations
        self._node: pytest.Item = request.node
        self._cache: pytest.Cache | None = request.config.cache
        self._subtests: pytest.Subtests = request.getfixturevalue("subtests")
        self._chosen = chosen
        self._replay = replay
        self._since = since
        self._database: DatabaseUrl | None = None
        self._opened = ExitStack()
        self._coroutines: list[Coroutine[Any, Any, Any]] = []

    @property
    def database(self) -> str:
        """The URL of a database of this test alone, of which each experiment gets a copy.

        It has the tables of DBOS and of aexp, and what was made in ``aexp_template``.
        """
        with one_line():
            return self._own_database().libpq

    @as_method_of(Explorations.explore_sync)
    def explore_sync(self, workflow: Any, /, *args: Any, **given: Any) -> Exploration:
        """Explore, and return what was found, broken or not."""
        __tracebackhide__ = True
        with one_line():
            exploration = self._explorations.explore_sync(workflow, *args, **self._options(given))
        self._note(exploration)
        return exploration

    @as_method_of(Explorations.explore_sync)
    def crash_sync(self, workflow: Any, /, *args: Any, **given: Any) -> Exploration:
        """Explore, and fail the test unless every promise held at every point.

        Raises PromisesBroken, after a subtest has failed for each finding.
        """
        __tracebackhide__ = True
        exploration = self.explore_sync(workflow, *args, **given)
        self._check(exploration)
        return exploration

    @as_coroutine_of(explore_sync)
    def explore(
        self, workflow: Any, /, *args: Any, **given: Any
    ) -> Coroutine[Any, Any, Exploration]:
        """Do what :meth:`explore_sync` does, while the loop goes on."""
        return self._awaited(self._explore(workflow, args, given))

    @as_coroutine_of(crash_sync)
    def crash(self, workflow: Any, /, *args: Any, **given: Any) -> Coroutine[Any, Any, Exploration]:
        """Do what :meth:`crash_sync` does, while the loop goes on."""
        return self._awaited(self._crash(workflow, args, given))

    @as_method_of(Explorations.explore_sync)
    def determinism_sync(self, workflow: Any, /, *args: Any, **given: Any) -> Exploration:
        """Replay from each checkpoint in other ``worlds``, in all unless told otherwise, and fail
        the test where the workflow diverges.

        Raises PromisesBroken, after a subtest has failed for each finding.
        """
        __tracebackhide__ = True
        return self.crash_sync(workflow, *args, **{**_IN_ALL, **given})

    @as_coroutine_of(determinism_sync)
    def determinism(
        self, workflow: Any, /, *args: Any, **given: Any
    ) -> Coroutine[Any, Any, Exploration]:
        """Do what :meth:`determinism_sync` does, while the loop goes on."""
        return self.crash(workflow, *args, **{**_IN_ALL, **given})

    @as_method_of(Explorations.explore_sync)
    def upgrade_sync(self, workflow: Any, /, *args: Any, **given: Any) -> Exploration:
        """Begin runs under the old code that ``since`` names, a revision of git, a folder or a
        file, kill each after another durable write, go on with it under the code as it is now, and
        fail the test where one does not survive that.

        What the call and the marker do not say is taken from ``--aexp-since``, then from the
        configuration. Raises PromisesBroken, after a subtest has failed for each finding.
        """
        __tracebackhide__ = True
        return self.crash_sync(workflow, *args, **self._upgrading(given))

    @as_coroutine_of(upgrade_sync)
    def upgrade(
        self, workflow: Any, /, *args: Any, **given: Any
    ) -> Coroutine[Any, Any, Exploration]:
        """Do what :meth:`upgrade_sync` does, while the loop goes on."""
        __tracebackhide__ = True
        return self.crash(workflow, *args, **self._upgrading(given))

    @as_method_of(Explorations.run_sync)
    def run_sync(self, workflow: Any, /, *args: Any, **given: Any) -> Report:
        """Run once in the test's ``database``, where what it leaves can be looked at, killed as
        often as asked, and fail the test unless all is well.

        Raises RunBroken.
        """
        __tracebackhide__ = True
        with one_line():
            given = {"database": self._own_database(), **given}
            report = self._explorations.run_sync(workflow, *args, **given)
        check_report(report)
        return report

    @as_coroutine_of(run_sync)
    def run(self, workflow: Any, /, *args: Any, **given: Any) -> Coroutine[Any, Any, Report]:
        """Do what :meth:`run_sync` does, while the loop goes on."""
        return self._awaited(self._run(workflow, args, given))

    def close(self) -> None:
        """Drop the database of the test. Fails it when one of its coroutines was not awaited."""
        __tracebackhide__ = True
        self._opened.close()
        self._node.user_properties.extend(junit_properties(self.outcomes))
        forgotten = [
            each
            for each in self._coroutines
            if inspect.getcoroutinestate(each) == inspect.CORO_CREATED
        ]
        for each in forgotten:
            each.close()
        if forgotten:
            pytest.fail(
                "aexp: nothing was explored, since a coroutine of the fixture was not awaited:"
                " write `await aexp.crash(…)`, or aexp.crash_sync(…) in a test without `async`",
                pytrace=False,
            )

    async def _explore(
        self, workflow: Any, args: tuple[Any, ...], given: Mapping[str, Any]
    ) -> Exploration:
        __tracebackhide__ = True
        with one_line():
            exploration = await self._explorations.explore(workflow, *args, **self._options(given))
        self._note(exploration)
        return exploration

    async def _crash(
        self, workflow: Any, args: tuple[Any, ...], given: Mapping[str, Any]
    ) -> Exploration:
        __tracebackhide__ = True
        exploration = await self._explore(workflow, args, given)
        self._check(exploration)
        return exploration

    async def _run(self, workflow: Any, args: tuple[Any, ...], given: Mapping[str, Any]) -> Report:
        __tracebackhide__ = True
        with one_line():
            options = {"database": self._own_database(), **given}
            report = await self._explorations.run(workflow, *args, **options)
        check_report(report)
        return report

    def _upgrading(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return options that say what the old code is."""
        __tracebackhide__ = True
        named = {"since": self._since, **self._chosen, **given}["since"]
        with one_line():
            if named is None:
                raise UsageError(
                    "upgrade takes old code: give since='HEAD', or another revision of git, a"
                    " folder or a file, or --aexp-since"
                )
        return {**given, "since": named}

    def _awaited(self, coroutine: Coroutine[Any, Any, _R]) -> Coroutine[Any, Any, _R]:
        self._coroutines.append(coroutine)
        return coroutine

    def _own_database(self) -> DatabaseUrl:
        if self._database is None:
            self._database = self._opened.enter_context(self._explorations.copy_template())
        return self._database

    def _options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        options = {**self._chosen, **given}
        if self._replay is not None:
            # One point of a test that does both is no point of the other.
            point = parse_point(self._replay)
            known = (point.worlds is not None) == (options.get("worlds") is not None)
            if options.get("since") is not None:
                known = known and point.side == Side.AFTER
            options |= {"replay": self._replay} if known else {"points": 1}
        if self._database is not None:
            options.setdefault("template", self._database.name)
        if self._cache is not None:
            # Where a test explores several, those that one does not have are none of it.
            broken = self._cache.get(self._key(), {}).values()
            options.setdefault("first", [point for points in broken for point in points])
        return options

    def _key(self) -> str:
        # A name of a file, which the id of a test need not be.
        digest = hashlib.sha1(self._node.nodeid.encode(), usedforsecurity=False)
        return f"{_CACHED}/{digest.hexdigest()}"

    def _note(self, exploration: Exploration) -> None:
        broken = [finding for finding in exploration.findings if finding.is_broken]
        verdict = "BROKEN" if broken else "HELD" if exploration.ok else "NOT VERIFIED"
        self.outcomes.append(
            ExplorationOutcome(
                test=self._node.nodeid,
                name=exploration.scenario,
                verdict=verdict,
                planned=len(exploration.planned),
                verified=len(exploration.verified),
                findings=len(broken),
                exploring_s=exploration.exploring_s,
                results=sarif_results(exploration),
            )
        )
        if self._cache is None or self._replay is not None:
            return
        known = self._cache.get(self._key(), {})
        points = [result.name for result in exploration.broken if result.name != BASELINE]
        if points != known.get(exploration.scenario, []):
            self._cache.set(self._key(), {**known, exploration.scenario: points})

    def _check(self, exploration: Exploration) -> None:
        __tracebackhide__ = True
        if exploration.ok:
            return
        if not self._fail_subtests(exploration):
            raise PromisesBroken(exploration, render_exploration(exploration))
        told = render_verdict(exploration)
        raise PromisesBroken(exploration, f"{told}\nEach finding is told as a subtest.")

    def _fail_subtests(self, exploration: Exploration) -> bool:
        """Fail a subtest for each finding that breaks a promise; return whether there is any."""
        broken = [finding for finding in exploration.findings if finding.is_broken]
        for finding in broken:
            with self._subtests.test(f"{finding.code.code} {finding.code.title}"):
                told = render_finding(exploration, finding)
                pytest.fail(f"{told}\n{self._replay_line(finding.replayed_by)}", pytrace=False)
        return bool(broken)

    def _replay_line(self, point: str) -> str:
        chosen = "--aexp-points=1" if point == BASELINE else f"--aexp-replay={point}"
        option, _, value = chosen.partition("=")
        return f"  pytest {shlex.quote(_shown(self._node))} {option} {shlex.quote(value)}"


def _shown(node: pytest.Item) -> str:
    """Return the id of a test as it is given where pytest was started, which need not be the root
    that ids begin at.
    """
    file, separator, rest = node.nodeid.partition("::")
    config = node.config
    path = os.path.relpath(config.rootpath / file, config.invocation_params.dir)
    return f"{path}{separator}{rest}"


@contextmanager
def one_line() -> Iterator[None]:
    """Fail the test with one line, and no traceback, for an error that a person can mend."""
    __tracebackhide__ = True
    try:
        yield
    except AexpError as error:
        # Without the errors that it comes of: pytest would tell the traceback of each.
        raise pytest.fail.Exception(f"aexp: {error}", pytrace=False) from None
