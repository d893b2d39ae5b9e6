"""Read what is known of a run of ``objects``: its catalogue, its queue, and its store anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from aexp.database.connect import Connection
from aexp.errors import BadInput
from aexp.model.promise import SAMPLE
from aexp.model.run import Ending, Run
from aexp.scenarios.objects.census import CensusComparison, take_census
from aexp.scenarios.objects.promises import CatalogueEvidence, Claim

__all__ = ["gather"]


async def gather(connection: Connection, run: Run, ending: Ending) -> CatalogueEvidence:
    """Read the evidence of ``run``; takes a new listing of its store, which may have changed."""
    # Of a run that has not ended well nobody knows what it reported.
    result = ending.result if ending.status == "SUCCESS" else None
    catalogue = await connection.fetchrow(
        "SELECT count(*) AS rows, coalesce(sum(size), 0)::bigint AS bytes"
        " FROM aexp.objects WHERE run_id = $1",
        run.run_id,
    )
    bodies = await connection.fetchrow(
        "SELECT coalesce(sum(bodies), 0)::bigint AS bodies,"
        " coalesce(sum(processes), 0)::bigint AS begun, count(*) AS pages"
        " FROM (SELECT count(*) AS bodies, count(DISTINCT pid) AS processes FROM aexp.ledger"
        "       WHERE run_id = $1 AND step = 'list' GROUP BY workflow_id) AS pages",
        run.run_id,
    )
    assert catalogue is not None
    assert bodies is not None
    duplicates = await _duplicates(connection, run.run_id)
    claims = await _claims(connection, run)
    compared, unchecked = await _compare(connection, run, result)
    return CatalogueEvidence(
        rows=catalogue["rows"],
        bytes=catalogue["bytes"],
        pages=len(claims),
        skipped=result["skipped"] if result else None,
        failed=len(result["failed"]) if result else None,
        starts=run.parameters["starts"],
        period_s=run.parameters["period_s"],
        concurrency=run.parameters["concurrency"],
        claims=[claim for claim in claims if claim.claimed_ms],
        bodies=bodies["bodies"],
        restarts=bodies["begun"] - bodies["pages"],
        retries=bodies["bodies"] - bodies["begun"],
        more_than_once=duplicates[0]["keys"] if duplicates else 0,
        duplicates=[{k: v for k, v in row.items() if k != "keys"} for row in duplicates],
        compared=compared,
        unchecked=unchecked,
        prefixes=await _prefixes(connection, run.run_id),
    )


async def _duplicates(connection: Connection, run_id: str) -> list[Mapping[str, Any]]:
    rows = await connection.fetch(
        "SELECT key, count(*) AS times, array_agg(page ORDER BY catalogued_at) AS pages,"
        " array_agg(pid ORDER BY catalogued_at) AS pids, count(*) OVER () AS keys"
        " FROM aexp.objects WHERE run_id = $1 GROUP BY key HAVING count(*) > 1"
        ' ORDER BY key COLLATE "C" LIMIT $2',
        run_id,
        SAMPLE,
    )
    return [dict(row) for row in rows]


async def _claims(connection: Connection, run: Run) -> list[Claim]:
    # DBOS stamps both times with the start of its transaction: of a claim before the snapshot in
    # which it sees who is done, of an end before its commit. So a page is at work beyond doubt only
    # from the first body after its claim to its end, whose milliseconds are rounded.
    rows = await connection.fetch(
        "SELECT workflow_uuid AS workflow_id, coalesce(started_at_epoch_ms, 0) AS claimed_ms,"
        " (SELECT ceil(extract(epoch FROM min(began_at)) * 1000)::bigint FROM aexp.ledger"
        "  WHERE run_id = $2 AND workflow_id = workflow_uuid AND step = 'list'"
        "  AND began_at >= to_timestamp((started_at_epoch_ms - 1) / 1000.0)) AS began_ms,"
        " completed_at - 1 AS ended_ms"
        " FROM dbos.workflow_status"
        " WHERE application_version = $1 AND name = 'objects.list_page'"
        " ORDER BY created_at, workflow_uuid",
        run.application_version,
        run.run_id,
    )
    return [Claim(*row) for row in rows]


async def _compare(
    connection: Connection, run: Run, result: Mapping[str, Any] | None
) -> tuple[CensusComparison | None, str | None]:
    """Compare the catalogue with a census, or say why there is none."""
    try:
        census = await take_census(run.parameters)
    except BadInput as error:
        return None, f"the catalogue was not compared with the store: {error}"
    compared = CensusComparison(census, datetime.fromisoformat(run.facts["probed_at"]))
    async with connection.transaction(readonly=True):
        async for row in connection.cursor(
            "SELECT DISTINCT key, size, modified, etag FROM aexp.objects WHERE run_id = $1",
            run.run_id,
            prefetch=1000,
        ):
            compared.see(*row)
    compared.end(_reported(result))
    if result is None:
        return compared, "what is missing was not judged: the run has not ended with a result"
    return compared, None


def _reported(result: Mapping[str, Any] | None) -> Callable[[str], bool]:
    """Return a function that says whether a key is in a page that is reported as failed."""
    failed = result["failed"] if result is not None else ()
    ranges = [(page["after"] or "", page["last"]) for page in failed]
    return lambda key: any(after < key <= last for after, last in ranges)


async def _prefixes(connection: Connection, run_id: str) -> list[tuple[str, int, int]]:
    rows = await connection.fetch(
        "SELECT prefix, count(*), sum(size)::bigint FROM ("
        "  SELECT CASE WHEN position('/' in key) > 0 THEN split_part(key, '/', 1) || '/'"
        "   ELSE '(top level)' END AS prefix, size FROM aexp.objects WHERE run_id = $1) AS objects"
        ' GROUP BY prefix ORDER BY sum(size) DESC, prefix COLLATE "C"',
        run_id,
    )
    return [(prefix, objects, size) for prefix, objects, size in rows]
