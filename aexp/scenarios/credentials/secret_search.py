"""Whether a secret stands anywhere in the tables of aexp and of DBOS, in whatever form."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from aexp.database.connect import Connection
from aexp.model.promise import SAMPLE

__all__ = ["Search", "needles", "search"]

SCHEMAS = ("aexp", "dbos")
LONGEST_IDENTITY = 200


@dataclass(frozen=True, slots=True)
class Search:
    """What a search for secrets went through and found; ``sample`` tells rows apart, no secret.

    ``unreadable`` are tables that could not be searched.
    """

    tables: int
    rows: int
    found: int
    sample: Sequence[Mapping[str, Any]] = ()
    unreadable: Sequence[str] = ()

    def as_json(self) -> Mapping[str, Any]:
        """Return JSON values, from which ``Search(**values)`` makes it again."""
        return {name: getattr(self, name) for name in self.__slots__}


def needles(secret: str) -> Sequence[str]:
    """Return the texts of which one stands in a row's text if ``secret`` does.

    As it is, in hexadecimal as PostgreSQL shows a bytea, and inside a base64 text at each of the
    three alignments, without the digits that its neighbours share: DBOS stores base64 of pickles.
    """
    raw = secret.encode()
    found = {secret, raw.hex()}
    for shift, first_digit in enumerate((0, 2, 3)):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            digits = encode(b"\0" * shift + raw).decode()
            found.add(digits[first_digit : (shift + len(raw)) * 8 // 6])
    return sorted(found)


async def search(connection: Connection, secrets: Iterable[str]) -> Search:
    """Search every row of every table of our schemas and of DBOS's for ``secrets``."""
    wanted = [needle for secret in secrets for needle in needles(secret)]
    tables = await connection.fetch(
        "SELECT format('%I.%I', namespaces.nspname, tables.relname) AS name,"
        " ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = tables.oid AND attnum > 0"
        "  AND NOT attisdropped AND (attname IN ('run_id', 'workflow_id', 'pid') OR attnum = ANY("
        "   SELECT unnest(indkey) FROM pg_index WHERE indrelid = tables.oid AND indisprimary))"
        "  ORDER BY attnum) AS identity"
        " FROM pg_class AS tables JOIN pg_namespace AS namespaces"
        "  ON namespaces.oid = tables.relnamespace"
        # Partitions are tables of their own; a view shows what stands in one of these.
        " WHERE tables.relkind IN ('r', 'm') AND tables.relispopulated"
        "  AND namespaces.nspname = ANY($1::text[]) ORDER BY 1",
        SCHEMAS,
    )
    rows = found = 0
    sample: list[Mapping[str, Any]] = []
    unreadable: list[str] = []
    for table in tables:
        try:
            counts = await connection.fetchrow(
                # OFFSET 0 keeps the row's text from being made again for each needle.
                "SELECT count(*) AS rows, count(*) FILTER (WHERE EXISTS ("  # noqa: S608 - quoted
                "  SELECT FROM unnest($1::text[]) AS needle WHERE strpos(line, needle) > 0))"
                "  AS found"
                f" FROM (SELECT each_row::text AS line FROM ONLY {table['name']} AS each_row"
                "  OFFSET 0) AS lines",
                wanted,
            )
        except asyncpg.InsufficientPrivilegeError:
            unreadable.append(table["name"])
            continue
        assert counts is not None
        rows += counts["rows"]
        found += counts["found"]
        if counts["found"] and len(sample) < SAMPLE:
            sample += await _identify(
                connection, table["name"], table["identity"], wanted, SAMPLE - len(sample)
            )
    return Search(len(tables) - len(unreadable), rows, found, sample, unreadable)


async def _identify(
    connection: Connection, table: str, identity: Sequence[str], wanted: Sequence[str], limit: int
) -> list[Mapping[str, Any]]:
    """Find where the first rows with a secret are, and in which columns; not the secret itself."""
    rows = await connection.fetch(
        "SELECT ctid::text AS ctid, columns, identity FROM ("  # noqa: S608 - quoted
        "  SELECT each_row.ctid, ARRAY(SELECT key FROM jsonb_each_text(to_jsonb(each_row))"
        "    WHERE EXISTS (SELECT FROM unnest($1::text[]) AS needle"
        "     WHERE strpos(value, needle) > 0)"
        "    ORDER BY key) AS columns,"
        "   ARRAY(SELECT key || '=' || value FROM jsonb_each_text(to_jsonb(each_row))"
        "    WHERE key = ANY($2::text[]) ORDER BY array_position($2::text[], key)) AS identity"
        f"  FROM ONLY {table} AS each_row OFFSET 0) AS rows"
        " WHERE columns <> '{}' ORDER BY ctid LIMIT $3",
        wanted,
        identity,
        limit,
    )
    return [
        {
            "table": table,
            "columns": ", ".join(row["columns"]),
            "row": _masked(", ".join(row["identity"]) or f"ctid={row['ctid']}", wanted),
        }
        for row in rows
    ]


def _masked(text: str, wanted: Sequence[str]) -> str:
    for needle in sorted(wanted, key=len, reverse=True):
        text = text.replace(needle, "***")
    return text[:LONGEST_IDENTITY]
