"""Read the evidence of a run of ``resume`` from the database."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio.to_thread

from aexp.database.connect import Connection
from aexp.errors import BadInput
from aexp.model.promise import SAMPLE
from aexp.model.run import Ending, Run
from aexp.scenarios.resume.messages import fingerprint
from aexp.scenarios.resume.promises import PublicationEvidence

__all__ = ["gather"]

# Messages whose bodies are compared by one digest.
BLOCK = 10_000


async def gather(connection: Connection, run: Run, ending: Ending) -> PublicationEvidence:
    """Read the evidence of ``run``; large runs are counted by the server and only sampled here."""
    asked = int(run.facts["messages"])
    failed = _failed_ranges(ending)
    counts = await connection.fetchrow(
        "SELECT coalesce(sum(n), 0)::bigint AS rows,"
        " count(*) FILTER (WHERE n = 1 AND position BETWEEN 0 AND $2 - 1) AS once,"
        " count(*) FILTER (WHERE n > 1 AND position BETWEEN 0 AND $2 - 1) AS more_than_once"
        " FROM (SELECT position, count(*) AS n FROM aexp.publications WHERE run_id = $1"
        "       GROUP BY position) AS seen",
        run.run_id,
        asked,
    )
    assert counts is not None
    never = asked - counts["once"] - counts["more_than_once"]
    lost, lost_count = await _lost(connection, run.run_id, asked, failed) if never else ([], 0)
    altered, unchecked = await _altered(connection, run)
    attempts = await connection.fetchrow(
        "SELECT coalesce(sum(n), 0)::bigint AS bodies, count(*) AS chunks,"
        " coalesce(max(n), 0) AS most FROM (SELECT count(*) AS n FROM aexp.ledger"
        "  WHERE run_id = $1 GROUP BY workflow_id) AS entries",
        run.run_id,
    )
    assert attempts is not None
    return PublicationEvidence(
        delivery=run.parameters["delivery"],
        asked=asked,
        rows=counts["rows"],
        once=counts["once"],
        more_than_once=counts["more_than_once"],
        never=never,
        reported_failed=never - lost_count,
        duplicates=await _duplicates(connection, run.run_id) if counts["more_than_once"] else (),
        lost=lost,
        altered=altered,
        strays=await _rows(
            connection,
            "SELECT position, channel, pid FROM aexp.publications"
            " WHERE run_id = $1 AND NOT position BETWEEN 0 AND $2 - 1 ORDER BY position LIMIT $3",
            run.run_id,
            asked,
            SAMPLE,
        ),
        unchecked=unchecked,
        bodies=attempts["bodies"],
        chunks=attempts["chunks"],
        most_bodies=attempts["most"],
        counters=await _counters(connection, run, ending),
    )


async def _rows(connection: Connection, query: str, *arguments: Any) -> list[Mapping[str, Any]]:
    return [dict(row) for row in await connection.fetch(query, *arguments)]


def _failed_ranges(ending: Ending) -> list[tuple[int, int]]:
    result = ending.result if isinstance(ending.result, Mapping) else {}
    return [(entry["first"], entry["count"]) for entry in result.get("failed", ())]


async def _lost(
    connection: Connection, run_id: str, asked: int, failed: Sequence[tuple[int, int]]
) -> tuple[list[int], int]:
    """Find the first positions neither published nor in a failed range, and count all of them."""
    rows = await connection.fetch(
        "WITH missing AS (SELECT generate_series(0::bigint, $2 - 1) AS position"
        "  EXCEPT SELECT position FROM aexp.publications WHERE run_id = $1)"
        " SELECT position, count(*) OVER () AS n FROM missing WHERE NOT EXISTS ("
        "  SELECT FROM unnest($3::bigint[], $4::bigint[]) AS failed (first, count)"
        "  WHERE position >= first AND position < first + count)"
        " ORDER BY position LIMIT $5",
        run_id,
        asked,
        [first for first, _ in failed],
        [count for _, count in failed],
        SAMPLE,
    )
    return [row["position"] for row in rows], rows[0]["n"] if rows else 0


async def _duplicates(connection: Connection, run_id: str) -> list[Mapping[str, Any]]:
    return await _rows(
        connection,
        "SELECT position, count(*) AS times, array_agg(pid ORDER BY published_at) AS pids,"
        " array_agg(published_at::text ORDER BY published_at) AS published_at"
        " FROM aexp.publications WHERE run_id = $1"
        " GROUP BY position HAVING count(*) > 1 ORDER BY position LIMIT $2",
        run_id,
        SAMPLE,
    )


async def _altered(connection: Connection, run: Run) -> tuple[list[Mapping[str, Any]], str | None]:
    """Find rows whose channel or body is wrong, and why the bodies were not compared, if so.

    What the scenario says of channels and bodies is said here once more, on purpose: its own code
    could not find itself wrong.
    """
    wrong = await _rows(
        connection,
        "SELECT position, channel, body::text AS body, pid FROM aexp.publications"
        " WHERE run_id = $1 AND (channel <> 'workflow' || (position % $2 + 1)"
        "  OR $3 AND body::text <> '{\"message\": \"Message ' || position || '\"}')"
        " ORDER BY position LIMIT $4",
        run.run_id,
        run.parameters["channels"],
        run.parameters["input"] is None,
        SAMPLE,
    )
    if run.parameters["input"] is None:
        return wrong, None
    path = Path(run.parameters["input"])
    try:
        found = await anyio.to_thread.run_sync(fingerprint, path)
        digests = await anyio.to_thread.run_sync(lambda: list(_digests(path)))
    except (OSError, BadInput) as error:
        return wrong, f"bodies were not compared: {error}"
    if found != (run.facts["size"], run.facts["sha256"]):
        return wrong, f"bodies were not compared: {path} has changed"
    for block, (count, digest) in enumerate(digests):
        if len(wrong) >= SAMPLE:
            break
        wrong += await _altered_in_block(connection, run.run_id, path, block, count, digest)
    return wrong[:SAMPLE], None


def _digests(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines and the MD5 of each block of the input."""
    with path.open("rb") as file:
        digest, count = hashlib.md5(usedforsecurity=False), 0
        for line in file:
            digest.update(line.strip() + b"\n")
            count += 1
            if count == BLOCK:
                yield count, digest.hexdigest()
                digest, count = hashlib.md5(usedforsecurity=False), 0
        if count:
            yield count, digest.hexdigest()


async def _altered_in_block(
    connection: Connection, run_id: str, path: Path, block: int, count: int, digest: str
) -> list[Mapping[str, Any]]:
    first = block * BLOCK
    found = await connection.fetchval(
        "SELECT md5(string_agg(body || E'\\n', '' ORDER BY position)) FROM ("
        "  SELECT DISTINCT position, body::text AS body FROM aexp.publications"
        "  WHERE run_id = $1 AND position >= $2 AND position < $3) AS bodies",
        run_id,
        first,
        first + count,
    )
    if found == digest:
        return []
    # Something differs, if only that messages are missing: look at each.
    rows = await connection.fetch(
        "SELECT position, channel, body::text AS body, pid FROM aexp.publications"
        " WHERE run_id = $1 AND position >= $2 AND position < $3 ORDER BY position",
        run_id,
        first,
        first + count,
    )
    lines = await anyio.to_thread.run_sync(_lines, path, first, count)
    return [dict(row) for row in rows if row["body"] != lines[row["position"] - first]]


def _lines(path: Path, first: int, count: int) -> list[str]:
    with path.open("rb") as file:
        return [
            line.decode().strip()
            for number, line in enumerate(file)
            if first <= number < first + count
        ]


async def _counters(
    connection: Connection, run: Run, ending: Ending
) -> Mapping[str, Mapping[str, int | None]] | None:
    if len({process.executor_id for process in ending.processes}) > 1:
        return None
    memory = next(
        (
            process.memory
            for process in reversed(ending.processes)
            if process.ended == "completed" and process.memory is not None
        ),
        None,
    )
    if memory is None:
        return None
    rows = await connection.fetch(
        "SELECT channel, count(*) AS messages FROM aexp.publications"
        " WHERE run_id = $1 GROUP BY channel",
        run.run_id,
    )
    durable = {row["channel"]: row["messages"] for row in rows}
    local, shared = memory["local_published_messages"], memory["global_published_messages"]
    return {
        channel: {
            "local": local.get(channel, 0),
            "global": shared.get(channel, 0),
            "durable": durable.get(channel, 0),
            "without_refill": memory["without_refill"].get(channel, 0),
        }
        for channel in sorted({*durable, *local, *shared}, key=lambda name: (len(name), name))
    }
