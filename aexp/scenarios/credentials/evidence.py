"""Read the evidence of a run of ``credentials`` from the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from aexp.database.connect import Connection
from aexp.model.promise import SAMPLE
from aexp.model.run import Ending, ProcessRecord, Run
from aexp.scenarios.credentials.promises import (
    FETCH_FAILED,
    FETCHED,
    CredentialsEvidence,
    Fetch,
    ProcessFetches,
    marker,
    step_name,
)
from aexp.scenarios.credentials.secret_search import Search, search

__all__ = ["gather"]


async def gather(connection: Connection, run: Run, ending: Ending) -> CredentialsEvidence:
    """Read the evidence of ``run``, and search all tables for its secrets."""
    users = await _users(connection, run, ending)
    processes, strays = await _fetches(connection, run, ending.processes)
    found: Search | None
    unsearched: str | None = None
    if run.parameters["token_url"] is None:
        found = await search(connection, [marker(run.run_id)])
    else:
        found, unsearched = _searched_by_themselves(processes, ending.processes)
    if unsearched is None and found is not None and found.unreadable:
        unsearched = f"no right to read {', '.join(found.unreadable)}"
    return CredentialsEvidence(
        **users,
        processes=processes,
        strays=strays,
        search=found,
        unsearched=unsearched,
        ended=ending.status in {"SUCCESS", "ERROR"},
    )


# Users with a checkpoint of their description; $1 is the application version, $2 the steps' stem.
_DESCRIBED = """
    WITH described AS (
        SELECT substr(function_name, length($2) + 1) AS name, count(*) AS times,
            array_agg(workflow_uuid || ' ' || function_id) AS checkpoints
        FROM dbos.operation_outputs JOIN dbos.workflow_status AS workflows USING (workflow_uuid)
        WHERE workflows.application_version = $1 AND starts_with(function_name, $2)
            AND operation_outputs.error IS NULL
        GROUP BY 1
    )
"""


async def _users(connection: Connection, run: Run, ending: Ending) -> Mapping[str, Any]:
    """Count how often each user was described, by the server."""
    result = ending.result if isinstance(ending.result, Mapping) else {}
    failed = [entry["page"] for entry in result.get("failed", ())]
    if ending.status == "ERROR":
        failed = list(range(1, run.parameters["pages"] + 1))
    counts = await connection.fetchrow(
        _DESCRIBED + "SELECT count(*) AS asked, count(times) AS described,"  # noqa: S608 - ours
        " count(*) FILTER (WHERE times IS NULL AND page = ANY($5::int[])) AS reported_failed,"
        " (array_agg(name ORDER BY page, name) FILTER"
        "   (WHERE times IS NULL AND page <> ALL($5::int[])))[1:$6] AS missing_sample"
        " FROM (SELECT page, page || '.' || number AS name FROM"
        "   generate_series(1, $3::int) AS page, generate_series(1, $4::int) AS number) AS asked"
        " LEFT JOIN described USING (name)",
        run.application_version,
        step_name(),
        run.parameters["pages"],
        run.parameters["users"],
        failed,
        SAMPLE,
    )
    assert counts is not None
    repeated = await connection.fetch(
        _DESCRIBED + "SELECT name AS user, times, checkpoints FROM described WHERE times > 1"  # noqa: S608 - ours
        " ORDER BY name LIMIT $3",
        run.application_version,
        step_name(),
        SAMPLE,
    )
    return {
        "asked": counts["asked"],
        "described": counts["described"],
        "reported_failed": counts["reported_failed"],
        "missing": counts["asked"] - counts["described"] - counts["reported_failed"],
        "missing_sample": counts["missing_sample"] or (),
        "repeated": [dict(row) for row in repeated],
    }


async def _fetches(
    connection: Connection, run: Run, records: Sequence[ProcessRecord]
) -> tuple[list[ProcessFetches], list[Mapping[str, Any]]]:
    """Return what each process fetched, and fetches of none of them."""
    rows = await connection.fetch(
        "SELECT event, pid, data, happened_at FROM aexp.events"
        " WHERE run_id = $1 AND event IN ($2, $3) ORDER BY happened_at",
        run.run_id,
        FETCHED,
        FETCH_FAILED,
    )
    # By their number in the process: one that was noted over a lost connection may stand twice.
    fetches: dict[int, dict[int, Fetch]] = {record.process_no: {} for record in records}
    failed = dict.fromkeys(fetches, 0)
    strays: list[Mapping[str, Any]] = []
    for row in rows:
        process_no = _process_of(records, row["pid"], row["happened_at"])
        data = row["data"]
        if process_no is None:
            strays.append({"pid": row["pid"], "happened_at": str(row["happened_at"]), **data})
        elif row["event"] == FETCH_FAILED:
            failed[process_no] += 1
        else:
            fetches[process_no][data["fetch"]] = Fetch(
                data["fetched_at"], data["expires_at"], data["why"]
            )
    return [
        ProcessFetches(
            pid=record.pid,
            ended=record.ended,
            fetches=sorted(fetches[record.process_no].values(), key=lambda made: made.fetched_at),
            failed=failed[record.process_no],
            log_leaks=(record.memory or {}).get("log_leaks"),
            expired_uses=(record.memory or {}).get("expired_uses"),
        )
        for record in records
    ], strays[:SAMPLE]


def _process_of(records: Sequence[ProcessRecord], pid: int, happened_at: datetime) -> int | None:
    """Return the process that had ``pid`` at that moment: a pid may come again later."""
    return max(
        (
            record.process_no
            for record in records
            if record.pid == pid and record.started_at <= happened_at
        ),
        default=None,
    )


def _searched_by_themselves(
    processes: Sequence[ProcessFetches], records: Sequence[ProcessRecord]
) -> tuple[Search | None, str | None]:
    """Return what the processes found of their own secrets, and why that does not tell, if so."""
    searches = []
    silent = []
    for process, record in zip(processes, records, strict=True):
        searched = (record.memory or {}).get("searched")
        if searched is not None:
            searches.append(Search(**searched))
        elif process.fetches:
            silent.append(str(process.pid))
    unsearched = (
        f"only the process that fetched a secret of token_url knows it, and process"
        f" {', '.join(silent)} did not end in order, so it searched no table"
        if silent
        else None
    )
    return _together(searches), unsearched


def _together(searches: Sequence[Search]) -> Search | None:
    if not searches:
        return None
    return Search(
        tables=max(found.tables for found in searches),
        rows=max(found.rows for found in searches),
        found=sum(found.found for found in searches),
        sample=[row for found in searches for row in found.sample][:SAMPLE],
        unreadable=sorted({name for found in searches for name in found.unreadable}),
    )
