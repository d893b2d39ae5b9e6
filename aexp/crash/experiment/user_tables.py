"""Read the tables of the user's: all that stand in a database beside those of DBOS and aexp."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from aexp.crash.judge.evidence import TableContent
from aexp.database.connect import Connection

__all__ = ["read_tables"]

# Of a table with more rows the number alone is compared, up to this one.
_MOST_ROWS = 2_000
_MOST_COUNTED = 1_000_000

# Partitions are read through the table that they are part of. A datasource of DBOS may have its
# records in a schema of the user's.
_TABLES = """
    SELECT relations.oid, format('%s.%s', nspname, relname) AS name,
        format('%I.%I', nspname, relname) AS quoted,
        array_agg(attname::text ORDER BY attnum) AS columns,
        coalesce(array_agg(attname::text) FILTER (
            WHERE attidentity <> '' OR attgenerated <> ''
                OR pg_get_expr(adbin, adrelid) LIKE '%nextval(%'
        ), '{}') AS numbered
    FROM pg_class AS relations
        JOIN pg_namespace ON pg_namespace.oid = relnamespace
        JOIN pg_attribute ON attrelid = relations.oid AND attnum > 0 AND NOT attisdropped
        LEFT JOIN pg_attrdef ON adrelid = relations.oid AND adnum = attnum
    WHERE relkind IN ('r', 'p') AND NOT relispartition AND relpersistence <> 't'
        AND nspname NOT IN ('dbos', 'aexp', 'aexp_crash', 'information_schema')
        AND nspname NOT LIKE 'pg\\_%'
        AND relname NOT IN ('datasource_outputs', 'dbos_datasource_migrations')
    GROUP BY 1, 2, 3 ORDER BY 2
"""

_REFERENCES = """
    SELECT conrelid, confrelid,
        (SELECT array_agg(attname::text ORDER BY place) FROM unnest(conkey) WITH ORDINALITY
            AS keys (number, place)
            JOIN pg_attribute ON attrelid = conrelid AND attnum = number) AS columns,
        (SELECT array_agg(attname::text ORDER BY place) FROM unnest(confkey) WITH ORDINALITY
            AS keys (number, place)
            JOIN pg_attribute ON attrelid = confrelid AND attnum = number) AS referred
    FROM pg_constraint WHERE contype = 'f'
"""


async def read_tables(
    connection: Connection, *, ignored: Collection[str] = ()
) -> Mapping[str, TableContent]:
    """Read every table of the user's, by ``schema.table``, but for those ``ignored``, which are
    named with their schema or without.
    """
    found = [
        row
        for row in await connection.fetch(_TABLES)
        if row["name"] not in ignored and row["name"].partition(".")[2] not in ignored
    ]
    if not found:
        return {}
    numbered = await _numbered(connection, {row["oid"]: set(row["numbered"]) for row in found})
    return {
        row["name"]: await _read(
            connection, row["quoted"], row["columns"], frozenset(numbered[row["oid"]])
        )
        for row in found
    }


async def _numbered(
    connection: Connection, filled: Mapping[int, set[str]]
) -> Mapping[int, set[str]]:
    """Add the columns that refer to numbered ones, and those that refer to these."""
    references = [dict(row) for row in await connection.fetch(_REFERENCES)]
    grows = True
    while grows:
        grows = False
        for row in references:
            if row["conrelid"] not in filled or row["confrelid"] not in filled:
                continue
            ours, theirs = filled[row["conrelid"]], filled[row["confrelid"]]
            for column, referred in zip(row["columns"], row["referred"], strict=True):
                if referred in theirs and column not in ours:
                    ours.add(column)
                    grows = True
    return filled


async def _read(
    connection: Connection, quoted: str, columns: list[str], numbered: frozenset[str]
) -> TableContent:
    rows = await connection.fetch(
        f"SELECT to_jsonb(content)::text AS row FROM {quoted} AS content LIMIT $1",  # noqa: S608
        _MOST_ROWS + 1,
    )
    if len(rows) > _MOST_ROWS:
        count = await connection.fetchval(
            f"SELECT count(*) FROM (SELECT FROM {quoted} LIMIT $1) AS content",  # noqa: S608
            _MOST_COUNTED,
        )
        return TableContent(count, columns, numbered, None)
    texts = [
        {
            column: json.dumps(value)
            # A numeric has more digits than a float.
            for column, value in json.loads(row["row"], parse_float=str).items()
        }
        for row in rows
    ]
    return TableContent(len(texts), columns, numbered, texts)
