"""The account of a run: what was asked, what happened, and which promises held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from aexp.audit.reader import read_ending, read_history
from aexp.audit.repetitions import repeated_steps
from aexp.audit.verdicts import judge_history
from aexp.database import DatabaseUrl
from aexp.database.connect import Connection
from aexp.model.promise import Verdict, judge, leave_open
from aexp.model.run import ProcessRecord, Run
from aexp.model.scenario import Scenario, scenario_code
from aexp.runs.leases import is_leased

__all__ = ["Report", "audit_run"]


@dataclass(frozen=True, slots=True)
class Report:
    """All that is told of a run."""

    run: Run
    status: str
    result: Any
    processes: Sequence[ProcessRecord]
    verdicts: Sequence[Verdict]
    account: Mapping[str, Any]
    elapsed_s: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    alive: bool = False
    # Effects that happened more than once; None where the scenario does not count them.
    duplicates: int | None = None

    def ended(self, process: ProcessRecord) -> str:
        """Say how ``process`` ended: it vanished if nobody saw it end, unless it still works."""
        if process.ended is not None:
            return process.ended
        return "still working" if self.alive else "vanished"

    @property
    def origin(self) -> dict[str, Any] | None:
        """The run that this one was forked from and the first step that it did itself, if it was
        forked.
        """
        if self.run.forked_from is None:
            return None
        return {"run_id": self.run.forked_from, "start_step": self.run.fork_step}

    @property
    def ok(self) -> bool:
        """Whether the workflow ended well and no promise is broken."""
        return self.status == "SUCCESS" and all(
            verdict.held is not False for verdict in self.verdicts
        )

    @property
    def verdict(self) -> Literal["held", "broken", "not judged"]:
        """All verdicts in a word: one broken promise breaks it, and one that is held holds it."""
        found = {verdict.held for verdict in self.verdicts}
        return "broken" if False in found else "held" if True in found else "not judged"

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values, in the order in which it is written."""
        return {
            "run_id": self.run.run_id,
            "scenario": self.run.scenario,
            "forked_from": self.origin,
            "status": self.status,
            "result": self.result,
            "parameters": dict(self.run.parameters),
            "processes": [
                {"pid": process.pid, "ended": self.ended(process)} for process in self.processes
            ],
            "promises": [
                {
                    "name": verdict.name,
                    "statement": verdict.statement,
                    "held": verdict.held,
                    "reason": verdict.reason,
                    "anomalies": [
                        {"summary": anomaly.summary, "rows": [dict(row) for row in anomaly.rows]}
                        for anomaly in verdict.anomalies or ()
                    ],
                }
                for verdict in self.verdicts
            ],
            "account": dict(self.account),
            "elapsed_s": round(self.elapsed_s, 3),
            "settings": dict(self.settings),
        }


async def audit_run(
    url: DatabaseUrl,
    connection: Connection,
    run: Run,
    scenario: Scenario[Any],
    *,
    extra: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    alone: bool = True,
) -> Report:
    """Gather the evidence of ``run`` and judge it; ``extra`` joins the account.

    Unless it had the machine ``alone``, promises that are timed are left open.

    Of a run that begins with another's steps the scenario's own evidence is not what it did, so
    that what the scenario promises and would tell is left open.
    """
    ending = await read_ending(url, connection, run, serializer=scenario.declared.serializer)
    history = await read_history(connection, run, ending)
    if run.inherits:
        before = f"steps before {run.fork_step} were done by run {run.forked_from}"
        own = _OwnAccount({}, None, leave_open(scenario.promises, before))
    else:
        with scenario_code(scenario, "the evidence"):
            evidence = await scenario.gather(connection, run, ending)
        own = _judge_own(scenario, evidence, alone=alone)
    verdicts = [*judge_history(history), *own.verdicts]
    alive = await is_leased(connection, run.run_id)
    if alive and (history.unfinished or not history.workflows):
        # It is not over: what has not happened yet is no anomaly.
        verdicts = [replace(verdict, anomalies=None) for verdict in verdicts]
    return Report(
        run=run,
        status=ending.status,
        result=ending.result if ending.status == "SUCCESS" else ending.error,
        processes=ending.processes,
        verdicts=verdicts,
        account={
            **own.details,
            "workflows": dict(history.workflows),
            "checkpoints": history.steps,
            **({"copied_checkpoints": history.copied} if run.forked_from is not None else {}),
            "steps_that_ran_more_than_once": {
                name: repeated.as_json()
                for name, repeated in repeated_steps(history.ran_again).items()
            },
            **(extra or {}),
        },
        elapsed_s=_elapsed_s(ending.processes, alive=alive),
        alive=alive,
        duplicates=own.duplicates,
        settings=settings or {},
    )


@dataclass(frozen=True, slots=True)
class _OwnAccount:
    """What the scenario itself tells of a run, and how its promises were judged."""

    details: Mapping[str, Any]
    duplicates: int | None
    verdicts: Sequence[Verdict]


def _judge_own(scenario: Scenario[Any], evidence: Any, *, alone: bool) -> _OwnAccount:
    with scenario_code(scenario, "the account"):
        details = scenario.account(evidence)
        duplicates = scenario.duplicates(evidence) if scenario.duplicates is not None else None
    timed = [promise for promise in scenario.promises if promise.timed and not alone]
    others = [promise for promise in scenario.promises if promise not in timed]
    verdicts = [
        *judge(others, evidence),
        *leave_open(timed, "it depends on the machine, which other experiments use as well"),
    ]
    return _OwnAccount(details, duplicates, verdicts)


def _elapsed_s(processes: Sequence[ProcessRecord], *, alive: bool) -> float:
    """Sum the seconds in which processes worked on the run, as far as their ends were seen."""
    now = datetime.now(UTC)
    elapsed = timedelta()
    covered = datetime.min.replace(tzinfo=UTC)
    for process in sorted(processes, key=lambda process: process.started_at):
        unfinished = now if alive and process.ended is None else process.started_at
        end = process.ended_at or unfinished
        elapsed += max(end - max(process.started_at, covered), timedelta())
        covered = max(covered, end)
    return elapsed.total_seconds()
