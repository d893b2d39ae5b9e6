"""``aexp worker``, ``aexp workers`` and ``aexp recover``: executors beside the service."""

from __future__ import annotations

import platform

import anyio.to_thread
import click
from dbos import DBOSClient

from aexp.cli.ending import end_at_once
from aexp.cli.terminal.account import print_json, print_none, print_table
from aexp.cli.terminal.output import out
from aexp.database import ensure_schema, locate_database, require_schema
from aexp.database.connect import connected, psycopg_engine
from aexp.errors import NoRuns
from aexp.processes.loop import run_on_loop
from aexp.processes.signals import stop_on_signals
from aexp.runs.host import Executor, Host, hand_over, list_executors, open_host
from aexp.settings import Settings

__all__ = ["recover", "worker", "workers"]


def worker(settings: Settings, max_active_runs: int) -> int:
    """Work on the runs of a service until a signal ends it; the exit code."""
    if "executor_id" not in settings.model_fields_set:
        settings = settings.model_copy(update={"executor_id": platform.node()[:100]})
    url = locate_database(settings)

    async def main() -> int:
        opened: list[Host] = []

        def kill_and_end() -> None:
            for host in opened:
                host.kill()
            end_at_once()

        await ensure_schema(url)
        async with (
            stop_on_signals(kill_and_end) as stop,
            open_host(
                settings, url, scenarios={}, max_active_runs=max_active_runs, serves="worker"
            ) as host,
        ):
            opened.append(host)
            click.echo(f"aexp works as {settings.executor_id}", file=out())
            out().flush()
            await stop.event.wait()
        return 0

    return run_on_loop(settings.loop, main)


def workers(settings: Settings, *, as_json: bool) -> int:
    """Print the executors; the exit code."""
    try:
        url = locate_database(settings, only_known=True)
    except NoRuns as none:
        return print_none(none, as_json=as_json)

    async def main() -> int:
        await require_schema(url)
        async with connected(url, read_only=True) as connection:
            found = await list_executors(connection)
        if as_json:
            print_json([_as_json(executor) for executor in found])
        else:
            print_table(
                ["executor", "alive", "serves", "host", "pid", "claimed", "of runs", "last wrote"],
                [
                    (
                        executor.executor_id,
                        "yes" if executor.alive else "no",
                        executor.serves or "–",
                        executor.host or "–",
                        executor.pid or "–",
                        executor.pending,
                        executor.runs,
                        f"{executor.last_wrote:%Y-%m-%d %H:%M:%S}" if executor.last_wrote else "–",
                    )
                    for executor in found
                ],
            )
        return 0

    return run_on_loop(settings.loop, main)


def _as_json(executor: Executor) -> dict[str, object]:
    return {
        "executor_id": executor.executor_id,
        "alive": executor.alive,
        "serves": executor.serves,
        "host": executor.host,
        "pid": executor.pid,
        "started_at": executor.started_at,
        "claimed_workflows": executor.pending,
        "runs": executor.runs,
        "last_wrote": executor.last_wrote,
    }


def recover(settings: Settings, executor: str, *, as_json: bool) -> int:
    """Hand over what a dead executor has claimed, and print it by run; the exit code."""
    url = locate_database(settings, only_known=True)

    async def main() -> int:
        await require_schema(url)
        engine = psycopg_engine(url, pool_size=1)
        try:
            client = DBOSClient(system_database_engine=engine, lazy=True)
            handed_over = await hand_over(url, client, executor)
        finally:
            await anyio.to_thread.run_sync(engine.dispose)
        if as_json:
            print_json(
                [
                    {
                        "run_id": one.run_id,
                        "workflows": one.workflows,
                        "living": sorted(one.living),
                    }
                    for one in handed_over
                ]
            )
            return 0
        if not handed_over:
            click.echo(f"executor {executor} has claimed nothing", file=out())
        else:
            print_table(
                ["run", "workflows", "handed to"],
                [
                    (
                        one.run_id,
                        one.workflows,
                        ", ".join(sorted(one.living)) or f"nobody yet: aexp resume {one.run_id}",
                    )
                    for one in handed_over
                ],
            )
        return 0

    return run_on_loop(settings.loop, main)
