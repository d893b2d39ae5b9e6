"""``aexp crash``, ``determinism`` and ``upgrade``: explore a workflow, and tell what was found."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from anyio.from_thread import start_blocking_portal

from aexp.cli.ending import UNWIND_S, end_at_once, end_with_databases
from aexp.cli.files import check_place, write_whole
from aexp.cli.terminal.account import console, print_json
from aexp.cli.terminal.output import out
from aexp.crash.experiment.user_databases import (
    UserDatabase,
    find_user_databases,
    open_user_databases,
)
from aexp.crash.judge.points import parse_point
from aexp.database import DatabaseUrl, locate_database
from aexp.database.copies import open_copies
from aexp.engine.config import warn_of_overridden
from aexp.environment import announce_url
from aexp.errors import Interrupted
from aexp.log import configure_logging
from aexp.processes.loop import run_on_loop
from aexp.processes.signals import unwind_on_signals
from aexp.scenarios import BUILT_IN, check_target, find_scenario
from aexp.settings import Settings

if TYPE_CHECKING:
    from aexp.crash.explorer import Explorer
    from aexp.crash.http.stub import HttpStub
    from aexp.crash.request import ExplorationRequest
    from aexp.crash.results import Exploration
    from aexp.crash.revisions import Upgrade

__all__ = ["explore"]


def explore(
    settings: Settings,
    target: str,
    given: Mapping[str, str],
    page: Path | None,
    options: Mapping[str, Any],
    *,
    form: str,
    command: str,
) -> int:
    """Explore as ``aexp COMMAND`` does, print in that form, and write the page; the exit code."""
    # It brings the proxy and all that explores, which no other command needs.
    from aexp.crash.experiment.workers import Surroundings  # noqa: PLC0415
    from aexp.crash.explorer import Explorer  # noqa: PLC0415
    from aexp.crash.http.stub import HttpStub  # noqa: PLC0415
    from aexp.crash.revisions import open_upgrade  # noqa: PLC0415

    if page is not None:
        check_place(page, f"{command}.html")
    normal = check_target(target)
    others = find_user_databases(options["variables"])
    http = {name: HttpStub.from_file(file) for name, file in options["stubs"].items()}
    url = locate_database(settings)
    with ExitStack() as stack:
        upgrade = None
        if "origin" in options:
            around = Surroundings(import_path=list(sys.path), folder=Path.cwd())
            upgrade = stack.enter_context(open_upgrade(normal, options["origin"], around))
            # What is imported here is the code under which runs begin.
            sys.path[:] = upgrade.old.surroundings.import_path
        apart = _imported_apart(settings, target, url, options["template"], others, http)
        imported_on = stack.enter_context(apart)
        request = _request(settings, command, target, given, options, others, http, upgrade)
        configure_logging(settings.log_format, settings.log_level)
        warn_of_overridden(settings, imported_on, request.scenario.declared)
        explorer = Explorer(request, settings, url)
        exploration = _explore(explorer, stack)
    _print(exploration, form)
    if page is not None:
        from aexp.crash.page import render_exploration  # noqa: PLC0415

        write_whole(page, render_exploration(exploration))
    if exploration.failure is not None:
        raise exploration.failure
    if exploration.interrupted:
        return Interrupted.exit_code
    return 0 if exploration.ok else 1


def _print(exploration: Exploration, form: str) -> None:
    from aexp.crash import formats  # noqa: PLC0415 - see above

    if form == "json":
        print_json(exploration.as_json())
    elif form == "sarif":
        out().write(formats.render_sarif(formats.sarif_results(exploration)) + "\n")
    elif form == "junit":
        out().write(formats.render_junit(exploration))
    else:
        formats.print_exploration(console(), exploration)
        if form == "github":
            out().write(formats.render_github(exploration))
    out().flush()


@contextmanager
def _imported_apart(
    settings: Settings,
    target: str,
    url: DatabaseUrl,
    template: str | None,
    others: Sequence[UserDatabase],
    http: Mapping[str, HttpStub],
) -> Iterator[DatabaseUrl]:
    """Lead this process to databases and stubs of its own, where the module of ``target`` may do at
    its import whatever it does, and may stay connected; yield the URL of DBOS's.
    """
    if target in BUILT_IN:
        yield url
        return
    from aexp.crash.http.stub import serve_all  # noqa: PLC0415 - see above

    options = {"use_uvloop": settings.loop == "uvloop"}
    with start_blocking_portal("asyncio", options) as portal:
        copies = open_copies(url, prefix="aexp_crash", origin=template)
        with (
            portal.wrap_async_context_manager(copies) as own,
            portal.wrap_async_context_manager(open_user_databases(others)) as copied,
            portal.wrap_async_context_manager(serve_all(http)) as stubs,
        ):
            announce_url(own.template.libpq)
            for database, copy in copied.items():
                announce_url(database.written_for(copy.template), database.variable)
            for name, stub in stubs.items():
                announce_url(stub.url, name)
            yield own.template


def _explore(explorer: Explorer, opened: ExitStack) -> Exploration:
    """Explore; two signals end this process once all is dropped, what was ``opened`` before too."""
    from aexp.cli.terminal.crash_progress import show_tally  # noqa: PLC0415 - see above

    def end() -> NoReturn:
        opened.close()
        end_at_once()

    async def main() -> Exploration:
        give_up = partial(end_with_databases, "crash")
        async with unwind_on_signals(end, give_up, UNWIND_S) as stop, show_tally(explorer):
            return await explorer.explore(stop)

    return run_on_loop(explorer.settings.loop, main)


def _request(
    settings: Settings,
    command: str,
    target: str,
    given: Mapping[str, str],
    options: Mapping[str, Any],
    others: Sequence[UserDatabase],
    http: Mapping[str, HttpStub],
    upgrade: Upgrade | None,
) -> ExplorationRequest:
    from aexp.crash.command import replay_command  # noqa: PLC0415 - see above
    from aexp.crash.request import ExplorationRequest  # noqa: PLC0415

    normal, scenario = find_scenario(target if upgrade is None else upgrade.old.target)
    chosen = dict(options)
    if upgrade is not None:
        del chosen["origin"]
        chosen |= {"place": target, "surroundings": upgrade.old.surroundings, "later": upgrade.new}
    replay = chosen.pop("replay")
    own = {name: chosen.pop(name) for name in ("variables", "stubs")}
    chosen["jobs"] = chosen["jobs"] or os.cpu_count() or 1
    return ExplorationRequest(
        target=normal,
        scenario=scenario,
        parameters=scenario.from_text(given),
        replay=parse_point(replay) if replay is not None else None,
        command=replay_command(settings, command, target, given, {**options, **own}),
        user_databases=others,
        http=http,
        **chosen,
    )
