"""A secret is found wherever in the database it stands, and what is found does not tell it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import pytest
from dbos._serialization import DefaultSerializer
from hypothesis import example, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from aexp.database.connect import Connection
from aexp.scenarios.credentials.promises import marker
from aexp.scenarios.credentials.secret_search import needles, search

SECRET = marker("planted")
# What a foreign endpoint may give: all characters of RFC 6750.
FOREIGN = "aZ09-._~+/~~~qw=="


def stored(value: Any) -> str:
    """As DBOS stores it."""
    return DefaultSerializer().serialize(value)


@effort(deadline=None)
@given(before=st.text(max_size=50), after=st.text(max_size=50))
@example(before="", after="")
@example(before="1", after="")
@example(before="22", after="")
@pytest.mark.parametrize("secret", [SECRET, FOREIGN, "8letters"])
def test_a_needle_is_in_whatever_dbos_stores_of_a_secret(
    secret: str, before: str, after: str
) -> None:
    for value in (
        before + secret + after,
        {"headers": [before, {"Authorization": f"Bearer {secret}"}, after]},
        ValueError(f"{before}{secret}{after}"),
        f"{before}{secret}{after}".encode(),
    ):
        text = stored(value)
        assert any(needle in text for needle in needles(secret))


@effort(deadline=None)
@given(text=st.text())
def test_no_needle_is_in_what_holds_no_secret(text: str) -> None:
    assert not any(needle in stored(text) for needle in needles(SECRET))


def test_no_needle_is_short_enough_to_be_found_by_chance() -> None:
    assert min(len(needle) for needle in needles(SECRET)) >= 60
    assert min(len(needle) for needle in needles("8letters")) >= 8


# A home for a secret of each kind: how a table of its own is made and filled, and what is told.
HOMES: Sequence[tuple[str, str, str, str]] = [
    ("text", "CREATE TABLE aexp.home (a int PRIMARY KEY, b text)", "'key: ' || $1", "a=7"),
    (
        "jsonb",
        "CREATE TABLE aexp.home (a int PRIMARY KEY, b jsonb)",
        "jsonb_build_array($1)",
        "a=7",
    ),
    ("bytea", "CREATE TABLE dbos.home (a int PRIMARY KEY, b bytea)", "$1::text::bytea", "a=7"),
    ("array", "CREATE TABLE dbos.home (a int PRIMARY KEY, b text[])", "ARRAY['x', $1]", "a=7"),
    ("no key", "CREATE TABLE dbos.home (a int, b text)", "$1", "ctid=(0,1)"),
    (
        "partition",
        (
            "CREATE TABLE dbos.home (a int PRIMARY KEY, b text) PARTITION BY RANGE (a);"
            " CREATE TABLE dbos.home_of_7 PARTITION OF dbos.home FOR VALUES FROM (0) TO (9)"
        ),
        "$1",
        "a=7",
    ),
    (
        "odd name",
        'CREATE TABLE aexp."My ""home""" (a int PRIMARY KEY, b text)',
        "$1",
        "a=7",
    ),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("ddl", "value", "identity"), [home[1:] for home in HOMES], ids=[home[0] for home in HOMES]
)
async def test_a_secret_is_found_in_a_column_of_any_type(
    connection: Connection, ddl: str, value: str, identity: str
) -> None:
    await connection.execute(ddl)
    table = ddl.partition(" (")[0].removeprefix("CREATE TABLE ")
    await connection.execute(
        f"INSERT INTO {table} SELECT 7, {value} FROM (SELECT $1::text) x", SECRET
    )
    await connection.execute(f"INSERT INTO {table} VALUES (8, NULL)")

    found = await search(connection, [SECRET])

    assert found.found == 1
    (row,) = found.sample
    assert row["table"].split(".")[1].startswith(table.split(".")[1].split(" ")[0])
    assert (row["columns"], row["row"]) == ("b", identity)


@pytest.mark.asyncio
async def test_a_materialised_view_keeps_what_its_table_has_lost(connection: Connection) -> None:
    await connection.execute(
        "CREATE TABLE aexp.home (b text);"
        f" INSERT INTO aexp.home VALUES ('{SECRET}');"
        " CREATE MATERIALIZED VIEW aexp.seen AS SELECT * FROM aexp.home;"
        " CREATE MATERIALIZED VIEW aexp.unseen AS SELECT * FROM aexp.home WITH NO DATA;"
        " TRUNCATE aexp.home"
    )
    found = await search(connection, [SECRET])
    assert [row["table"] for row in found.sample] == ["aexp.seen"]


@pytest.mark.asyncio
@pytest.mark.parametrize("shift", range(6))
async def test_a_secret_is_found_in_a_checkpoint_at_each_alignment(
    connection: Connection, shift: int
) -> None:
    await connection.execute(
        "INSERT INTO dbos.workflow_status (workflow_uuid, status, priority, inputs)"
        " VALUES ('w', 'SUCCESS', 0, $1)",
        stored({"args": ["harmless"]}),
    )
    await connection.execute(
        "INSERT INTO dbos.operation_outputs (workflow_uuid, function_id, function_name, output)"
        " VALUES ('w', 3, 'login', $1), ('w', 4, 'use', $2)",
        stored("x" * shift + SECRET),
        stored("nothing"),
    )

    found = await search(connection, [SECRET])

    assert found.found == 1
    assert found.sample == [
        {
            "table": "dbos.operation_outputs",
            "columns": "output",
            "row": "workflow_uuid=w, function_id=3",
        }
    ]


@pytest.mark.asyncio
async def test_what_tells_a_row_apart_does_not_tell_the_secret(connection: Connection) -> None:
    await connection.execute(
        "INSERT INTO aexp.counters (run_id, name, value) VALUES ('r', $1, 1)", f"of {SECRET}"
    )
    found = await search(connection, [SECRET])
    assert found.sample == [
        {"table": "aexp.counters", "columns": "name", "row": "run_id=r, name=of ***"}
    ]


@pytest.mark.asyncio
async def test_a_search_of_many_rows_counts_all_and_shows_some(connection: Connection) -> None:
    await connection.execute(
        "INSERT INTO aexp.counters (run_id, name, value)"
        " SELECT 'r', n || $1::text, 1 FROM generate_series(1, 1000) AS n",
        SECRET,
    )
    before = await search(connection, ["another secret"])
    found = await search(connection, ["another secret", SECRET])
    assert (found.found, len(found.sample)) == (1000, 20)
    assert before.found == 0
    assert found.tables == before.tables
    assert found.rows == before.rows >= 1000


@pytest.mark.asyncio
async def test_tables_that_may_not_be_read_are_told(connection: Connection) -> None:
    role = f"test_{secrets.token_hex(6)}"
    await connection.execute(
        f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA aexp, dbos TO {role};"
        f" GRANT SELECT ON ALL TABLES IN SCHEMA aexp, dbos TO {role};"
        f" REVOKE SELECT ON aexp.events FROM {role}"
    )
    try:
        await connection.execute(f"SET ROLE {role}")
        found = await search(connection, [SECRET])
    finally:
        await connection.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")
    assert found.unreadable == ["aexp.events"]
