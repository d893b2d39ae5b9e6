"""``aexp run`` and ``aexp resume``: run a scenario to its end and print its account."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import anyio
import click

from aexp.audit import Report, audit_run
from aexp.cli.live import show_progress
from aexp.cli.options import with_settings, with_target
from aexp.cli.output import out
from aexp.database import DatabaseUrl, ensure_schema, locate_database
from aexp.database.connect import connected
from aexp.errors import Interrupted, RunEnded, UsageError
from aexp.execution import execute, has_ended, leave_terminal_clean, run_on_loop
from aexp.log import bind_process, configure_logging, watch_steps
from aexp.progress import Progress, Snapshot
from aexp.runs import Run, begin_run, check_run_id, check_same, find_run, get_run, new_run_id
from aexp.runtime import application_version
from aexp.scenario import Scenario, scenario_code
from aexp.scenarios import find_scenario
from aexp.settings import Settings
from aexp.stopping import stop_on_signals
from aexp.supervisor import KillPlan, Supervisor, await_supervisor_gone, report_progress

__all__ = ["resume", "run", "work"]

# DBOS dead-letters a workflow after 100 recoveries.
MOST_KILLS = 90

_EXECUTION_OPTIONS = (
    click.option(
        "--kills",
        type=click.IntRange(0, MOST_KILLS),
        default=0,
        metavar="N",
        help="Run in a child process, kill it N times with SIGKILL, start it again.",
    ),
    click.option(
        "--seed", type=int, default=0, metavar="S", help="Chooses the moments of the kills (0)."
    ),
    click.option(
        "--crash-after",
        type=click.IntRange(1),
        metavar="N",
        help="Kill this very process after its N-th unit of work.",
    ),
    click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout."),
)


def _with_execution_options(command: Any) -> Any:
    for option in reversed(_EXECUTION_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class Order:
    """How a run is to be carried out."""

    kills: int
    seed: int
    crash_after: int | None
    as_json: bool

    def __post_init__(self) -> None:
        if self.kills and self.crash_after is not None:
            raise UsageError("--kills and --crash-after exclude each other: give one of them")


@click.command
@with_target
@click.option("--run-id", metavar="ID", help="Begin the run under this id, or go on with it.")
@_with_execution_options
@with_settings
def run(
    settings: Settings, target: str, given: Mapping[str, str], run_id: str | None, **order: Any
) -> int:
    """Run a scenario, or a workflow of your own, and print its account.

    With the --run-id of an earlier run it goes on where that one stopped.
    """
    carry_out = Order(**order)
    normal, scenario = find_scenario(target)
    # A module that makes a DBOS of its own has given its logger a handler of its own.
    configure_logging(settings.log_format, settings.log_level)
    parameters = scenario.from_text(given)
    explicit = parameters.model_dump(mode="json", include=set(given))
    run_id = check_run_id(run_id) if run_id is not None else new_run_id(scenario.name)
    wanted = Run(
        run_id=run_id,
        scenario=scenario.name,
        target=normal,
        parameters=parameters.model_dump(mode="json"),
        facts={},
        application_version=application_version(run_id),
    )
    url = locate_database(settings)

    async def main() -> tuple[Run, Mapping[str, Any]]:
        await ensure_schema(url)
        begun = await _begin(url, scenario, wanted, explicit, parameters)
        return begun, await _carry_out(begun, scenario, settings, url, carry_out)

    begun, extra = run_on_loop(settings.loop, main)
    return _report(begun, scenario, settings, url, carry_out, extra)


async def _begin(
    url: DatabaseUrl,
    scenario: Scenario[Any],
    wanted: Run,
    explicit: Mapping[str, Any],
    parameters: Any,
) -> Run:
    """The run that has this id already, if it is the one that is meant, else a new one."""
    async with connected(url) as connection:
        known = await find_run(connection, wanted.run_id)
        if known is not None:
            check_same(known, wanted.scenario, wanted.target, explicit)
            return known
        with scenario_code(scenario, "facts"):
            facts = await scenario.facts(parameters)
        return await begin_run(connection, replace(wanted, facts=facts))


@click.command
@click.argument("run_id")
@_with_execution_options
@with_settings
def resume(settings: Settings, run_id: str, **order: Any) -> int:
    """Go on with a run: what is unfinished is finished, what is done is not done again."""
    carry_out = Order(**order)
    url = locate_database(settings, only_known=True)

    async def main() -> tuple[Run, Scenario[Any], Mapping[str, Any]]:
        await ensure_schema(url)
        known, scenario = await load_run(url, run_id)
        configure_logging(settings.log_format, settings.log_level)
        return known, scenario, await _carry_out(known, scenario, settings, url, carry_out)

    known, scenario, extra = run_on_loop(settings.loop, main)
    return _report(known, scenario, settings, url, carry_out, extra)


async def load_run(url: DatabaseUrl, run_id: str) -> tuple[Run, Scenario[Any]]:
    """A recorded run and its scenario."""
    async with connected(url, read_only=True) as connection:
        known = await get_run(connection, run_id)
    _, scenario = find_scenario(known.target)
    return known, scenario


async def _carry_out(
    begun: Run, scenario: Scenario[Any], settings: Settings, url: DatabaseUrl, order: Order
) -> Mapping[str, Any]:
    """Carry the run out; what is to be added to its account."""
    bind_process(run_id=begun.run_id, scenario=begun.scenario)
    if order.kills:
        return await _supervised(begun, scenario, settings, url, order)
    return await _in_this_process(begun, scenario, settings, url, order)


def _report(
    begun: Run,
    scenario: Scenario[Any],
    settings: Settings,
    url: DatabaseUrl,
    order: Order,
    extra: Mapping[str, Any],
) -> int:
    async def main() -> Report:
        async with connected(url) as connection:
            return await audit_run(
                url, connection, begun, scenario, extra=extra, settings=settings.echo()
            )

    # A loop of its own: DBOS has left the run's without an executor, and with whatever tasks the
    # workflows forgot.
    return finish(run_on_loop(settings.loop, main), as_json=order.as_json)


def finish(report: Report, *, as_json: bool) -> int:
    """Print ``report``; the exit code that it means."""
    # Not at the top: a worker prints no report.
    from aexp.cli.render import print_report  # noqa: PLC0415

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


def _end_at_once(run_id: str) -> None:
    """A second signal: say how to go on, and end, whatever this process is doing."""
    leave_terminal_clean()
    click.echo(f"aexp: error: {Interrupted(run_id)}", err=True)
    os._exit(Interrupted.exit_code)


async def _in_this_process(
    begun: Run, scenario: Scenario[Any], settings: Settings, url: DatabaseUrl, order: Order
) -> Mapping[str, Any]:
    progress = Progress()
    async with (
        stop_on_signals(partial(_end_at_once, begun.run_id)) as stop,
        show_progress(begun.run_id, lambda: (progress.snapshot(), 0)),
    ):
        outcome = await execute(
            begun, scenario, settings, url, progress, stop, crash_after=order.crash_after
        )
    if outcome == "interrupted":
        raise Interrupted(begun.run_id)
    if order.crash_after is not None:
        # It would not be here had it killed itself.
        return {"kills": {"asked": 1, "landed": 0, "after": order.crash_after}}
    return {}


async def _supervised(
    begun: Run, scenario: Scenario[Any], settings: Settings, url: DatabaseUrl, order: Order
) -> Mapping[str, Any]:
    async with connected(url) as connection:
        if await has_ended(connection, begun):
            raise RunEnded(begun.run_id)
    parameters = scenario.validate(begun.parameters)
    plan = KillPlan(order.kills, order.seed, scenario.steps(parameters, begun.facts))
    latest: list[tuple[Snapshot, int]] = [(Snapshot(0, None, 0, None), 0)]

    def remember(restarts: int, state: Snapshot) -> None:
        latest[0] = (state, restarts)

    supervisor = Supervisor(begun, settings, url, plan, remember)

    def end_at_once() -> None:
        supervisor.kill()
        _end_at_once(begun.run_id)

    async with stop_on_signals(end_at_once) as stop, show_progress(begun.run_id, lambda: latest[0]):
        supervision = await supervisor.supervise(stop)
    if supervision.interrupted:
        raise Interrupted(begun.run_id)
    return {"kills": {"asked": order.kills, "landed": supervision.landed, "seed": order.seed}}


@click.command(hidden=True)
@click.argument("run_id")
@click.option("--hosted", is_flag=True, help="For a host, which waits for other executors.")
@with_settings
def work(settings: Settings, run_id: str, hosted: bool) -> int:  # noqa: FBT001
    """Work on a run for a supervisor, telling it on stdout how far it has come."""
    url = locate_database(settings, only_known=True)

    async def main() -> int:
        known, scenario = await load_run(url, run_id)
        configure_logging(settings.log_format, settings.log_level)
        progress = Progress()
        watch_steps(lambda *_step: progress.step_began())
        async with (
            stop_on_signals(partial(_end_at_once, run_id)) as stop,
            anyio.create_task_group() as group,
        ):
            group.start_soon(report_progress, progress, out())
            group.start_soon(await_supervisor_gone, stop, settings.drain_timeout_s)
            outcome = await execute(known, scenario, settings, url, progress, stop, hosted=hosted)
            group.cancel_scope.cancel()
        return 0 if outcome == "completed" else Interrupted.exit_code

    return run_on_loop(settings.loop, main)
