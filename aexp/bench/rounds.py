"""The rounds: in each, every cell once, in an order of its own."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import anyio.to_thread

from aexp.bench.analysis.record import assemble
from aexp.bench.analysis.result import CellResult, Result
from aexp.bench.measure.cell import CellJob
from aexp.bench.measure.cells import CellFailed, Cells, open_cells
from aexp.bench.measure.machine import describe_machine, describe_server, load, versions
from aexp.bench.workload import Variant, Workload
from aexp.database import DatabaseUrl
from aexp.database.connect import connected
from aexp.database.copies import Copies, open_copies
from aexp.errors import AexpError, Interrupted, first_of_ours
from aexp.processes.signals import Stop, until_stopped
from aexp.settings import Settings

__all__ = ["OnProgress", "Plan", "RoundsProgress", "Task", "measure"]


@dataclass(frozen=True, slots=True)
class Task:
    """A variant of a workload to be measured; ``target`` finds the workload."""

    target: str
    workload: Workload
    variant: Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be measured: workloads with their targets, and in how many rounds.

    With ``budget_s`` no round is begun that would not end in that time, the first excepted.
    """

    workloads: Sequence[tuple[str, Workload]]
    rounds: int
    seed: int
    quick: bool
    budget_s: float | None = None

    def tasks(self, round_no: int) -> Sequence[Task]:
        """Return the cells of a round in their order: the same for the same seed."""
        tasks = [
            Task(target, workload, variant)
            for target, workload in self.workloads
            for variant in workload.variants
            if variant.in_quick or not self.quick
        ]
        random.Random(f"{self.seed} {round_no}").shuffle(tasks)  # noqa: S311 - guards nothing
        return tasks


@dataclass(frozen=True, slots=True)
class RoundsProgress:
    """How far a bench has come; ``cell`` is the one that it is at."""

    round_no: int
    done: int
    total: int
    failed: int
    cell: str


OnProgress = Callable[[RoundsProgress], None]


async def measure(
    plan: Plan, settings: Settings, server: DatabaseUrl, tell: OnProgress, stop: Stop
) -> Result:
    """Carry out ``plan`` on the server of this URL, telling before every cell how far it is.

    A cell that comes to nothing does not end the bench; with ``settings.debug`` what cells write on
    stderr is shown. When ``stop`` is asked for, or an error ends it, the result is what was
    measured until then, and no process and no database is left. Raises Interrupted or that error
    when nothing was.
    """
    began, began_at, load_before = time.monotonic(), datetime.now(UTC), load()
    machine = await anyio.to_thread.run_sync(describe_machine)
    measured = await anyio.to_thread.run_sync(versions)
    async with connected(server.with_name("postgres")) as connection:
        postgresql = await describe_server(connection)
    bench = _Rounds(plan, postgresql.pid, tell, settings.debug)
    failure = None
    try:
        async with until_stopped(stop):
            await bench.measure_rounds(server, began)
    except* AexpError as errors:
        failure = first_of_ours(errors)
    if failure is None and stop.asked() and not bench.whole:
        failure = Interrupted()
    if failure is not None and not bench.cells:
        raise failure
    circumstances: dict[str, Any] = {
        "began_at": began_at.isoformat(timespec="seconds"),
        "elapsed_s": round(time.monotonic() - began, 1),
        "seed": plan.seed,
        "quick": plan.quick,
        "rounds": {"asked": plan.rounds, "done": bench.rounds},
        "machine": machine,
        "load": {"before": load_before, "after": load()},
        "versions": measured,
        "postgresql": postgresql.settings,
        "limits": postgresql.limits,
        "settings": bench.settings,
    }
    return assemble(circumstances, plan.workloads, bench.cells, failure)


@dataclass(slots=True)
class _Rounds:
    """A plan being carried out: whole ``rounds`` until now, all ``cells``, and whether it is
    ``whole`` itself.

    ``settings`` are what all cells had that came to anything.
    """

    plan: Plan
    server_pid: int | None
    tell: OnProgress
    relay: bool
    cells: list[CellResult] = field(default_factory=list)
    settings: Mapping[str, Any] = field(default_factory=dict)
    rounds: int = 0
    whole: bool = False

    async def measure_rounds(self, server: DatabaseUrl, began: float) -> None:
        """Measure, in databases of this server, for as long as there is time since ``began``."""
        async with open_copies(server, prefix="aexp_bench") as databases:
            while self.rounds < self.plan.rounds and self._has_time(time.monotonic() - began):
                await self._round(databases, self.rounds + 1)
                self.rounds += 1
            self.whole = True

    def _has_time(self, elapsed_s: float) -> bool:
        """Return whether one more round, as long as those before, ends within the budget."""
        if self.plan.budget_s is None or self.rounds == 0:
            return True
        return elapsed_s * (self.rounds + 1) / self.rounds <= self.plan.budget_s

    async def _round(self, databases: Copies, round_no: int) -> None:
        """Measure every cell once."""
        # A server each: what a process has by chance, such as the order of its sets, all cells of
        # a round have in common and no two rounds.
        async with open_cells(relay=self.relay) as cells:
            tasks = self.plan.tasks(round_no)
            for task in tasks:
                self._tell(round_no, task, len(tasks) * self.plan.rounds)
                self.cells.append(await self._cell(cells, databases, round_no, task))

    def _tell(self, round_no: int, task: Task, total: int) -> None:
        failed = sum(cell.failure is not None for cell in self.cells)
        name = f"{task.workload.name} {task.variant.name}"
        self.tell(RoundsProgress(round_no, len(self.cells), total, failed, name))

    async def _cell(self, cells: Cells, databases: Copies, round_no: int, task: Task) -> CellResult:
        size = task.workload.sized(task.variant, quick=self.plan.quick)

        def result(**found: Any) -> CellResult:
            return CellResult(
                workload=task.workload.name,
                variant=task.variant.name,
                round_no=round_no,
                size=size,
                **found,
            )

        async with databases.copy() as url:
            job = CellJob(
                target=task.target,
                variant=task.variant.name,
                size=size,
                database_url=url.libpq,
                server_pid=self.server_pid,
            )
            try:
                outcome = await cells.measure(job, task.workload.timeout_s)
            except CellFailed as error:
                return result(failure=str(error))
        self.settings = outcome["settings"]
        if outcome["units"] < 1 or outcome["anomalies"]:
            found = "; ".join(outcome["anomalies"]) or "it did nothing"
            return result(units=outcome["units"], failure=f"its check found: {found}")
        return result(
            units=outcome["units"], figures=outcome["figures"], measured=outcome["measured"]
        )
