"""Explorations from a test: one server, one migrated template, one pair of forkservers for all."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import anyio
import anyio.to_thread
from anyio.from_thread import BlockingPortal, start_blocking_portal

from aexp.audit import Report
from aexp.crash.experiment.workers import open_servers
from aexp.crash.explorer import Explorer
from aexp.crash.request import ExplorationProgress
from aexp.crash.results import Exploration
from aexp.database import DatabaseUrl, locate_database
from aexp.database.connect import connected
from aexp.database.copies import Copies, open_copies
from aexp.errors import UsageError, first_of_ours
from aexp.processes.child import ForkServer
from aexp.processes.signals import Stop
from aexp.settings import Settings, load_settings
from aexp.testing.naming import bind_parameters, name_scenario
from aexp.testing.options import (
    Downtimes,
    ExploreOptions,
    OldCode,
    Points,
    Sides,
    Stub,
    Worlds,
    make_request,
)
from aexp.testing.runs import run_killed
from aexp.testing.target_code import find_code
from aexp.testing.typed import as_coroutine_of, as_function_of

__all__ = ["Explorations", "explore", "explore_sync", "open_explorations", "run", "run_sync"]

_R = TypeVar("_R")

_PREFIX = "aexp_test"
_PROGRESS_S = 0.2
# What stands in a command for a database that is to be made anew.
_A_DATABASE = "DATABASE"
_HAS_TABLES = """
SELECT EXISTS (
    SELECT FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace::regnamespace::text
        NOT IN ('aexp', 'dbos', 'information_schema', 'pg_catalog')
)
"""


class Explorations:
    """What explorations share. Made by :func:`open_explorations`.

    ``on_progress`` is called while one goes on, in another thread, a few times a second, and at its
    end with None.
    """

    def __init__(
        self,
        settings: Settings,
        url: DatabaseUrl,
        portal: BlockingPortal,
        copies: Copies,
        closing: ExitStack,
    ) -> None:
        self.settings = settings
        self.on_progress: Callable[[ExplorationProgress | None], None] | None = None
        self._url = url
        self._portal = portal
        self._copies = copies
        self._closing = closing
        self._servers: Sequence[ForkServer] = ()
        self._stops: list[Stop] = []

    @property
    def template(self) -> DatabaseUrl:
        """The database of which each experiment gets a copy, with the tables of DBOS and of aexp.

        What a suite needs besides can be made there, once, before the first exploration.
        """
        return self._copies.template

    def copy_template(self) -> AbstractContextManager[DatabaseUrl]:
        """Make a database that an exploration can take as its template, for a context's life."""
        return self._portal.wrap_async_context_manager(self._copies.copy())

    def explore_sync(
        self,
        workflow: Any,
        /,
        *args: Any,
        sides: Sides | None = None,
        points: Points | None = None,
        seed: int = 0,
        double: Points = 0,
        zombie: Points = 0,
        postgres: Points = 0,
        down: Downtimes = (),
        stranded: bool = False,
        all_writes: bool = False,
        replay: str | None = None,
        first: Sequence[str] = (),
        once: Sequence[str] = (),
        ignore_tables: Sequence[str] = (),
        expect_error: bool = False,
        http: Mapping[str, Stub] | None = None,
        database_env: Sequence[str] = (),
        allow_outside: bool = False,
        deadline_s: float | None = None,
        jobs: int | None = None,
        template: str | None = None,
        worlds: Worlds | None = None,
        since: OldCode | None = None,
        **kwargs: Any,
    ) -> Exploration:
        """Kill ``workflow`` at its durable writes; return what was found, broken or not.

        It is a DBOS workflow at the top of a module, async or sync, a bound method of a configured
        instance, a Scenario, or a text as ``aexp crash`` takes it. The options are those of
        :class:`aexp.testing.options.ExploreOptions`, other keywords the workflow's own. Raises
        UsageError for what cannot be explored, and WorkerFailed, DatabaseError, NothingToExplore.
        """
        options = ExploreOptions(
            sides=sides,
            points=points,
            seed=seed,
            double=double,
            zombie=zombie,
            postgres=postgres,
            down=down,
            stranded=stranded,
            all_writes=all_writes,
            replay=replay,
            first=first,
            once=once,
            ignore_tables=ignore_tables,
            expect_error=expect_error,
            http=http or {},
            database_env=database_env,
            allow_outside=allow_outside,
            deadline_s=deadline_s,
            jobs=jobs,
            template=template,
            worlds=worlds,
            since=since,
        )
        return self._explore(workflow, args, kwargs, options)

    @as_coroutine_of(explore_sync)
    async def explore(self, workflow: Any, /, *args: Any, **given: Any) -> Exploration:
        """Do what :meth:`explore_sync` does, while the loop goes on.

        When it is cancelled, the points that are being tried come to their end first.
        """
        return await _in_thread(partial(self.explore_sync, workflow, *args, **given), self.stop)

    def run_sync(
        self,
        workflow: Any,
        /,
        *args: Any,
        kills: int = 0,
        seed: int = 0,
        database: DatabaseUrl | None = None,
        **kwargs: Any,
    ) -> Report:
        """Run ``workflow`` with these arguments once, in a process that is killed so many times at
        moments drawn by ``seed``, and audit it; return what happened.

        It is in ``database``, a copy of the template, or in one that is gone afterwards.
        ``workflow``, ``args`` and ``kwargs`` are as in :meth:`explore_sync`. Raises AexpErrors:
        UsageError, WorkerFailed, DatabaseError.
        """
        named = name_scenario(workflow)
        parameters = bind_parameters(named, args, kwargs)
        own = self.copy_template() if database is None else nullcontext(database)
        with own as url:
            run = partial(run_killed, named, parameters, self.settings, url, kills=kills, seed=seed)
            return self._carry_out(run)

    @as_coroutine_of(run_sync)
    async def run(self, workflow: Any, /, *args: Any, **given: Any) -> Report:
        """Do what :meth:`run_sync` does, while the loop goes on."""
        return await _in_thread(partial(self.run_sync, workflow, *args, **given), self.stop)

    def stop(self) -> None:
        """Ask what goes on to end: explorations do with the points that they are at."""
        for stop in list(self._stops):
            self._portal.call(stop.ask)

    def _explore(
        self,
        workflow: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: ExploreOptions,
    ) -> Exploration:
        named = name_scenario(workflow)
        options.check_unambiguous(named.scenario.name, named.scenario.workflow, len(args))
        parameters = bind_parameters(named, args, kwargs)
        source = options.template or self.template.name
        told = self._portal.call(self._told, source)
        with find_code(named, options.origin) as (code, later):
            request = make_request(
                named, parameters, options, self.settings, code, later, source, told
            )
            if not self._servers:
                opening = self._portal.wrap_async_context_manager(open_servers())
                self._servers = self._closing.enter_context(opening)
            explorer = Explorer(request, self.settings, self._url, self._servers)
            exploration = self._carry_out(partial(self._watched, explorer))
        if exploration.failure is not None:
            raise exploration.failure
        return exploration

    async def _told(self, source: str) -> str | None:
        """Return how a person names a database that experiments copy: one of ours will be gone."""
        if not self._copies.owns(source):
            return source
        async with connected(self._url.with_name(source), read_only=True) as connection:
            return _A_DATABASE if await connection.fetchval(_HAS_TABLES) else None

    def _carry_out(self, work: Callable[[Stop], Awaitable[_R]]) -> _R:
        """Return what ``work`` does on the loop of explorations; an error of ours is not in a group
        of errors.
        """
        stop = Stop()
        self._stops.append(stop)
        future = self._portal.start_task_soon(work, stop)
        try:
            return future.result()
        except BaseException as error:
            if not future.done():
                # An interrupt of this thread: nothing goes on behind the back of the next test.
                self._portal.call(stop.ask)
                future.exception()
            cause = first_of_ours(error) if isinstance(error, Exception) else None
            if cause is not None:
                raise cause from error
            raise
        finally:
            self._stops.remove(stop)

    async def _watched(self, explorer: Explorer, stop: Stop) -> Exploration:
        async with anyio.create_task_group() as group:
            if self.on_progress is not None:
                group.start_soon(_tell, explorer.tally, self.on_progress)
            exploration = await explorer.explore(stop)
            group.cancel_scope.cancel()
        return exploration


async def _tell(
    tally: ExplorationProgress, on_progress: Callable[[ExplorationProgress | None], None]
) -> None:
    try:
        while True:
            on_progress(tally)
            await anyio.sleep(_PROGRESS_S)
    finally:
        on_progress(None)


@contextmanager
def open_explorations(
    database_url: str | None = None, *, home: Path | None = None
) -> Iterator[Explorations]:
    """Open what explorations share; nothing of it is left when the context ends.

    Without ``database_url`` the settings of aexp say where PostgreSQL is, and without those it is
    the embedded server of ``home``, which is started unless it runs, and goes on.

    Raises UsageError on Windows, DatabaseError and EmbeddedServerError.
    """
    if sys.platform == "win32":
        raise UsageError(
            "aexp kills processes with POSIX signals: run these tests on Linux, macOS or in WSL"
        )
    settings = load_settings({"database_url": database_url, "home": home})
    url = locate_database(settings)
    with ExitStack() as closing:
        options = {"use_uvloop": settings.loop == "uvloop"}
        portal = closing.enter_context(start_blocking_portal("asyncio", options))
        opening = open_copies(url, prefix=_PREFIX)
        copies = closing.enter_context(portal.wrap_async_context_manager(opening))
        yield Explorations(settings, url, portal, copies, closing)


@as_function_of(Explorations.explore_sync)
def explore_sync(
    workflow: Any, /, *args: Any, database_url: str | None = None, **given: Any
) -> Exploration:
    """Explore a workflow once, as :meth:`Explorations.explore_sync` does.

    ``database_url`` is that of :func:`open_explorations`, by which several explorations share what
    takes seconds to start.
    """
    with open_explorations(database_url) as explorations:
        return explorations.explore_sync(workflow, *args, **given)


@as_coroutine_of(explore_sync)
async def explore(
    workflow: Any, /, *args: Any, database_url: str | None = None, **given: Any
) -> Exploration:
    """Do what :func:`explore_sync` does, while the loop goes on."""
    return await _with_its_own(
        database_url, lambda ours: ours.explore_sync(workflow, *args, **given)
    )


@as_function_of(Explorations.run_sync)
def run_sync(workflow: Any, /, *args: Any, database_url: str | None = None, **given: Any) -> Report:
    """Run a workflow and kill its process, as :meth:`Explorations.run_sync` does."""
    with open_explorations(database_url) as explorations:
        return explorations.run_sync(workflow, *args, **given)


@as_coroutine_of(run_sync)
async def run(
    workflow: Any, /, *args: Any, database_url: str | None = None, **given: Any
) -> Report:
    """Do what :func:`run_sync` does, while the loop goes on."""
    return await _with_its_own(database_url, lambda ours: ours.run_sync(workflow, *args, **given))


async def _with_its_own(database_url: str | None, work: Callable[[Explorations], _R]) -> _R:
    """Do ``work`` in a thread, with explorations that are opened for it."""
    opened: list[Explorations] = []

    def do() -> _R:
        with open_explorations(database_url) as explorations:
            opened.append(explorations)
            return work(explorations)

    def stop() -> None:
        for explorations in opened:
            explorations.stop()

    return await _in_thread(do, stop)


async def _in_thread(work: Callable[[], _R], stop: Callable[[], None]) -> _R:
    """Return what ``work`` does in a thread; when this is cancelled, ``stop`` and wait for it."""
    ended = anyio.Event()
    outcome: list[tuple[_R | None, BaseException | None]] = []

    async def run() -> None:
        with anyio.CancelScope(shield=True):
            try:
                outcome.append((await anyio.to_thread.run_sync(work), None))
            except Exception as error:
                outcome.append((None, error))
        ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        try:
            await ended.wait()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(stop)
            raise
    ((result, error),) = outcome
    if error is not None:
        raise error
    return cast("_R", result)
