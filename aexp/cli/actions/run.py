"""``aexp run`` and ``aexp resume``: run a scenario to its end and print its account."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import anyio
import click

from aexp.audit import Report, audit_run
from aexp.cli.ending import end_at_once
from aexp.cli.terminal.output import out
from aexp.cli.terminal.progress import show_progress
from aexp.database import DatabaseUrl, ensure_schema, locate_database
from aexp.database.connect import connected
from aexp.engine.runtime import application_version
from aexp.environment import announce_url
from aexp.errors import Interrupted, RunEnded, UsageError
from aexp.log import bind_process, configure_logging
from aexp.model.run import Run
from aexp.model.run_ids import check_run_id, new_run_id
from aexp.model.scenario import Scenario, scenario_code
from aexp.processes.loop import run_on_loop
from aexp.processes.progress import Progress, Snapshot
from aexp.processes.signals import stop_on_signals
from aexp.processes.supervised import await_supervisor_gone, kill_this_process, report_progress
from aexp.runs.execution import execute, has_ended
from aexp.runs.kill_plan import KillPlan, Strike, Striker
from aexp.runs.recordings import import_recordings
from aexp.runs.run_processes import open_run_processes
from aexp.runs.store import begin_run, check_same, find_run, get_run, last_run
from aexp.runs.supervisor import Supervisor
from aexp.scenarios import check_target, find_scenario
from aexp.settings import Settings

__all__ = ["RunOptions", "finish", "load_run", "resume", "run", "work"]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run is to be carried out."""

    kills: int
    seed: int
    crash_after: int | None
    as_json: bool

    def __post_init__(self) -> None:
        if self.kills and self.crash_after is not None:
            raise UsageError("--kills and --crash-after exclude each other: give one of them")


def run(
    settings: Settings,
    target: str,
    given: Mapping[str, str],
    run_id: str | None,
    options: RunOptions,
) -> int:
    """Begin a run, or go on with the one of this id, and print its account; the exit code."""
    check_target(target)
    url = locate_database(settings)
    announce_url(url.libpq)
    normal, scenario = find_scenario(target)
    # A module that makes a DBOS of its own has given its logger a handler of its own.
    configure_logging(settings.log_format, settings.log_level)
    parameters = scenario.from_text(given)
    explicit = parameters.model_dump(mode="json", exclude_unset=True)
    run_id = check_run_id(run_id) if run_id is not None else new_run_id(scenario.name)
    wanted = Run(
        run_id=run_id,
        scenario=scenario.name,
        target=normal,
        parameters=parameters.model_dump(mode="json"),
        facts={},
        application_version=application_version(run_id),
    )

    async def main() -> tuple[Run, Mapping[str, Any]]:
        await ensure_schema(url)
        begun = await _begin(url, scenario, wanted, explicit, parameters)
        return begun, await _work_on(begun, scenario, settings, url, options)

    begun, extra = run_on_loop(settings.loop, main)
    return _report(begun, scenario, settings, url, options, extra)


async def _begin(
    url: DatabaseUrl,
    scenario: Scenario[Any],
    wanted: Run,
    explicit: Mapping[str, Any],
    parameters: Any,
) -> Run:
    """Begin a run, or return the one that has this id already, if it is the one that is meant."""
    async with connected(url) as connection:
        known = await find_run(connection, wanted.run_id)
        if known is not None:
            check_same(known, wanted.scenario, wanted.target, explicit)
            return known
        with scenario_code(scenario, "facts"):
            facts = await scenario.facts(parameters)
        return await begin_run(connection, replace(wanted, facts=facts))


def resume(settings: Settings, run_id: str | None, options: RunOptions) -> int:
    """Go on with a run, and print its account; the exit code."""
    url = locate_database(settings, only_known=True)
    known, scenario = load_run(settings, url, run_id, ensure_schema)

    async def main() -> Mapping[str, Any]:
        return await _work_on(known, scenario, settings, url, options)

    extra = run_on_loop(settings.loop, main)
    return _report(known, scenario, settings, url, options, extra)


def load_run(
    settings: Settings,
    url: DatabaseUrl,
    run_id: str | None,
    prepare: Callable[[DatabaseUrl], Awaitable[object]] | None = None,
) -> tuple[Run, Scenario[Any]]:
    """Load a recorded run, without an id the one that was begun last, and its scenario.

    ``prepare`` makes sure that the database is one with runs.
    """

    async def look_up() -> Run:
        if prepare is not None:
            await prepare(url)
        async with connected(url, read_only=True) as connection:
            if run_id is not None:
                return await get_run(connection, run_id)
            return await last_run(connection)

    known = run_on_loop(settings.loop, look_up)
    if run_id is None:
        click.echo(f"aexp: the last run is {known.run_id}", err=True)
    # Modules are imported where no loop runs, as by their own programs.
    announce_url(url.libpq)
    _, scenario = find_scenario(known.target)
    configure_logging(settings.log_format, settings.log_level)
    return known, scenario


async def _work_on(
    begun: Run, scenario: Scenario[Any], settings: Settings, url: DatabaseUrl, options: RunOptions
) -> Mapping[str, Any]:
    """Carry the run out, unless it has ended; what is to be added to its account."""
    bind_process(run_id=begun.run_id, scenario=begun.scenario)
    async with connected(url) as connection:
        # Of a process that was killed when all had ended, before it could do so itself.
        await import_recordings(connection, begun.run_id)
        if await has_ended(connection, begun):
            if options.kills or options.crash_after is not None:
                raise RunEnded(begun.run_id)
            click.echo(
                f"aexp: nothing ran: run {begun.run_id} has ended already, with this account",
                err=True,
            )
            return {}
    if options.kills:
        return await _supervised(begun, scenario, settings, url, options)
    return await _in_this_process(begun, scenario, settings, url, options)


def _report(
    begun: Run,
    scenario: Scenario[Any],
    settings: Settings,
    url: DatabaseUrl,
    options: RunOptions,
    extra: Mapping[str, Any],
) -> int:
    async def main() -> Report:
        async with connected(url) as connection:
            return await audit_run(
                url, connection, begun, scenario, extra=extra, settings=settings.echo()
            )

    # A loop of its own: DBOS has left the run's without an executor, and with whatever tasks the
    # workflows forgot.
    return finish(run_on_loop(settings.loop, main), as_json=options.as_json)


def finish(report: Report, *, as_json: bool) -> int:
    """Print ``report``; the exit code that it means."""
    # Not at the top: a worker prints no report.
    from aexp.cli.terminal.account import print_report  # noqa: PLC0415

    print_report(report, as_json=as_json)
    kills = report.account.get("kills")
    if kills is not None and kills["landed"] < kills["asked"]:
        click.echo(
            f"aexp: only {kills['landed']} of {kills['asked']} kills landed before the run ended,"
            " which proves less than you asked for: give it more to do, or another --seed",
            err=True,
        )
        return 1
    return 0 if report.ok else 1


async def _in_this_process(
    begun: Run, scenario: Scenario[Any], settings: Settings, url: DatabaseUrl, options: RunOptions
) -> Mapping[str, Any]:
    progress = Progress()
    async with (
        show_progress(begun.run_id, lambda: (progress.snapshot(), 0)) as clear,
        stop_on_signals(partial(end_at_once, begun.run_id, clear)) as stop,
    ):
        outcome = await execute(
            begun, scenario, settings, url, progress, stop, crash_after=options.crash_after
        )
    if outcome == "interrupted":
        raise Interrupted(begun.run_id)
    if options.crash_after is not None:
        # It would not be here had it killed itself.
        return {"kills": {"asked": 1, "landed": 0, "after": options.crash_after}}
    return {}


async def _supervised(
    begun: Run, scenario: Scenario[Any], settings: Settings, url: DatabaseUrl, options: RunOptions
) -> Mapping[str, Any]:
    parameters = scenario.validate(begun.parameters)
    plan = KillPlan(options.kills, options.seed, scenario.steps(parameters, begun.facts))
    latest: list[tuple[Snapshot, int]] = [(Snapshot(0, None, 0, None), 0)]

    def remember(restarts: int, state: Snapshot) -> None:
        latest[0] = (state, restarts)

    async with (
        open_run_processes(url) as processes,
        show_progress(begun.run_id, lambda: latest[0]) as clear,
    ):
        supervisor = Supervisor(begun, settings, url, processes, plan, remember)

        def kill_and_end() -> None:
            supervisor.kill()
            end_at_once(begun.run_id, clear)

        async with stop_on_signals(kill_and_end) as stop:
            supervision = await supervisor.supervise(stop)
    if supervision.interrupted:
        raise Interrupted(begun.run_id)
    return {"kills": {"asked": options.kills, "landed": supervision.landed, "seed": options.seed}}


def work(settings: Settings, run_id: str, *, hosted: bool, strike: str | None) -> int:
    """Work on a run for a supervisor, telling it on stdout how far it has come; the exit code.

    At the ``strike`` the process kills itself.
    """
    observe = None
    if strike is not None:
        observe = Striker(Strike.parse(strike), partial(kill_this_process, out()))
    url = locate_database(settings, only_known=True)
    known, scenario = load_run(settings, url, run_id)

    async def main() -> int:
        progress = Progress()
        async with (
            stop_on_signals(partial(end_at_once, run_id)) as stop,
            anyio.create_task_group() as group,
        ):
            group.start_soon(report_progress, progress, out())
            group.start_soon(await_supervisor_gone, stop, settings.drain_timeout_s)
            outcome = await execute(
                known, scenario, settings, url, progress, stop, hosted=hosted, observe=observe
            )
            group.cancel_scope.cancel()
        return 0 if outcome == "completed" else Interrupted.exit_code

    return run_on_loop(settings.loop, main)
