"""What a statement writes, and what the write is called in every run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from aexp.crash.proxy.frames import Value
from aexp.crash.proxy.statements import LONGEST_SQL, Control, read
from aexp.crash.proxy.writes import Effect, Ordinals, Write, effects_of

RUN = "resume-88b16d8b"


def texts(*values: str | None) -> list[Value]:
    return [Value(None if value is None else value.encode(), binary=False) for value in values]


def effects(sql: str, values: Sequence[Value] = ()) -> list[Effect]:
    return [effect for statement in read(sql) for effect in effects_of(statement, values)]


def names(sql: str, *values: str) -> list[str]:
    return [effect.name for effect in effects(sql, texts(*values))]


@pytest.mark.parametrize(
    "sql",
    [
        "",
        ";",
        "''",
        '""',
        "$$$$",
        "-- INSERT INTO item\nSELECT 1",
        "SELECT * FROM item WHERE note = 'DELETE FROM item' FOR UPDATE SKIP LOCKED",
        'SELECT 1 AS "UPDATE"',
        "SELECT pg_notify($1, p) FROM unnest(CAST($2 AS text[])) AS p",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT pg_catalog.pg_try_advisory_lock(1)",
        "WITH one AS (SELECT 1) SELECT * FROM one",
        "VALUES (1)",
        "COPY item TO STDOUT",
        "COPY (SELECT 1) TO STDOUT (FORMAT binary)",
        "LISTEN channel",
        "NOTIFY channel, 'INSERT'",
        "SET LOCAL statement_timeout = 30000",
        "SHOW transaction isolation level",
        "DECLARE c CURSOR FOR SELECT * FROM item",
        "FETCH FORWARD 5 FROM c",
        "LOCK TABLE item IN SHARE MODE",
        "EXPLAIN INSERT INTO item VALUES (1)",
        "DEALLOCATE ALL",
    ],
)
def test_reads_and_locks_write_nothing(sql: str) -> None:
    assert names(sql) == []


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("insert into item values (1)", ["insert item"]),
        ('INSERT INTO "dbos"."item" AS i (a) SELECT 1', ["insert dbos.item"]),
        ("INSERT INTO item DEFAULT VALUES", ["insert item"]),
        ("INSERT INTO a.b (c) VALUES (1) ON CONFLICT (c) DO UPDATE SET c = 2", ["insert a.b"]),
        ("/* x */ UPDATE ONLY a.b SET c = 1", ["update a.b"]),
        ("DELETE FROM a.b USING d WHERE TRUE RETURNING *", ["delete a.b"]),
        (
            "MERGE INTO a.b USING d ON x WHEN MATCHED THEN UPDATE SET e = 1",
            ["merge a.b"],
        ),
        ("WITH gone AS (DELETE FROM a.b RETURNING *) SELECT * FROM gone", ["delete a.b"]),
        (
            "WITH u AS (UPDATE a.b SET c = 1 RETURNING 1) INSERT INTO d.e SELECT 1 FROM u",
            ["update a.b", "insert d.e"],
        ),
        ("SELECT * INTO a.b FROM c", ["create table a.b"]),
        ('COPY "a"."b"("c") FROM STDIN (FORMAT binary)', ["copy a.b"]),
        ("SELECT dbos.enqueue_workflow(workflow_name => $1)", ["select dbos.enqueue_workflow()"]),
        ("TRUNCATE a.b, c", ["truncate a.b"]),
        ("CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON a.b (c)", ["create index i"]),
        ("ALTER TABLE a.b ADD COLUMN c int", ["alter table a.b"]),
        ("DO $$ BEGIN INSERT INTO x VALUES (1); END $$", ["do"]),
        ("CALL a.b(1)", ["call a.b"]),
        ("EXPLAIN (ANALYZE) DELETE FROM a.b", ["explain"]),
        ("COMMIT PREPARED 'x'", ["commit prepared x"]),
        ("SOMETHING nobody knows", ["something nobody"]),
        # What sqlglot cannot parse.
        ("INSERT INTO a.b VALUES ('unterminated", ["insert a.b"]),
        ("UPDATE a.b SET c = = 1", ["update a.b"]),
        ("WITH x AS (DELETE FROM a.b WHERE = ) SELECT 1", ["write x"]),
        ("INSERT INTO a.b VALUES ('" + LONGEST_SQL * "x" + "')", ["insert a.b"]),
        ("BEGIN; INSERT INTO a VALUES (1); DELETE FROM b; COMMIT", ["insert a", "delete b"]),
    ],
)
def test_writes_are_named_by_what_they_write(sql: str, expected: list[str]) -> None:
    assert names(sql) == expected


@pytest.mark.parametrize(
    ("sql", "control"),
    [
        ("BEGIN", Control.BEGIN),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE;", Control.BEGIN),
        ("start transaction read only", Control.BEGIN),
        ("COMMIT", Control.COMMIT),
        ("commit and chain", Control.COMMIT),
        ("END", Control.COMMIT),
        ("PREPARE TRANSACTION 'x'", Control.COMMIT),
        ("ROLLBACK", Control.ROLLBACK),
        ("ABORT WORK", Control.ROLLBACK),
        ("SAVEPOINT s", Control.SAVEPOINT),
        ('RELEASE SAVEPOINT "_pg3_1"', Control.RELEASE),
        ("ROLLBACK TO s", Control.ROLLBACK_TO),
        ("ROLLBACK TRANSACTION TO SAVEPOINT s", Control.ROLLBACK_TO),
        ("COMMIT PREPARED 'x'", None),
        ("PREPARE s AS SELECT 1", None),
    ],
)
def test_ends_of_transactions_are_known(sql: str, control: Control | None) -> None:
    assert [statement.control for statement in read(sql)] == [control]


def test_savepoints_have_the_names_that_the_server_gives_them() -> None:
    assert read("SAVEPOINT Mine")[0].savepoint == read("ROLLBACK TO mine")[0].savepoint
    assert read('SAVEPOINT "Mine"')[0].savepoint != read("ROLLBACK TO mine")[0].savepoint


def test_only_a_single_write_is_counted_by_its_command_tag() -> None:
    assert read("UPDATE a SET b = 1")[0].counted
    assert read("COPY a FROM STDIN")[0].counted
    assert not read("WITH x AS (DELETE FROM a RETURNING 1) SELECT * FROM x")[0].counted
    assert not read("WITH x AS (DELETE FROM a RETURNING 1) INSERT INTO b SELECT 1")[0].counted
    assert not read("CREATE TABLE a ()")[0].counted


INSERTED = "INSERT INTO dbos.operation_outputs (workflow_uuid, function_id, output) VALUES "


@pytest.mark.parametrize(
    ("sql", "workflow_id", "step_id"),
    [
        (INSERTED + "($1::VARCHAR, $2::INTEGER, $3)", "b", 3),
        (INSERTED + "($2, $3, $1)", "3", None),
        (INSERTED + "('literal', 7, $1)", "literal", 7),
        (INSERTED + "($1, $2, 'x'), ($4, $5, 'y')", "a", None),
        (INSERTED + "(coalesce($1, 'x'), $2, $3)", None, 3),
        ("INSERT INTO t (step_id, workflow_id) SELECT $2, $1::text FROM q", "b", 3),
        ("UPDATE t SET function_id = $2 WHERE t.workflow_uuid = $1 AND x = 1", "b", 3),
        ("UPDATE t SET x = 1 WHERE workflow_uuid IN ($1, $4)", "a", None),
        ("UPDATE t SET x = 1 WHERE workflow_uuid = $1 OR x = 1", None, None),
        ("DELETE FROM t WHERE workflow_id = $1 AND step_id >= $2", "b", None),
        ("DELETE FROM t WHERE workflow_id = ANY($1)", None, None),
        ("DELETE FROM t", None, None),
    ],
)
def test_ids_are_read_from_the_parameters(
    sql: str, workflow_id: str | None, step_id: int | None
) -> None:
    [effect] = effects(sql, texts("b", "3", None, "a", "4"))
    assert (effect.workflow_id, effect.step_id) == (workflow_id, step_id)


@pytest.mark.parametrize(
    ("value", "step_id"),
    [
        (Value(b"\0\0\0\x0c", binary=True), 12),
        (Value(b"\0\x0c", binary=True), 12),
        (Value(b"12", binary=False), 12),
        (Value(b"twelve", binary=False), None),
        (Value(None, binary=True), None),
    ],
)
def test_a_step_is_read_in_each_format(value: Value, step_id: int | None) -> None:
    workflow = Value(b"w", binary=value.binary)
    [effect] = effects(INSERTED + "($1, $2, $3)", [workflow, value])
    assert (effect.workflow_id, effect.step_id) == ("w", step_id)


def test_what_is_no_text_is_no_workflow() -> None:
    [effect] = effects("DELETE FROM t WHERE workflow_id = $1", [Value(b"\xff\xfe", binary=True)])
    assert effect.workflow_id is None


def test_the_state_of_a_workflow_belongs_to_the_name() -> None:
    ended = (
        "WITH updated AS (UPDATE dbos.workflow_status SET status = $1"
        " WHERE dbos.workflow_status.workflow_uuid = $2 RETURNING 1),"
        " stored AS (INSERT INTO dbos.workflow_output (workflow_uuid, output) SELECT $2, $3"
        " WHERE EXISTS (SELECT 1 FROM updated) RETURNING 1) SELECT count(*) FROM updated"
    )
    assert names(ended, "SUCCESS", "w", "x") == [
        "update dbos.workflow_status SUCCESS",
        "insert dbos.workflow_output",
    ]


@pytest.mark.parametrize(
    ("sql", "bookkeeping"),
    [
        ("INSERT INTO dbos.queues (name) VALUES ('q')", True),
        ("UPDATE aexp.processes SET ended = 'x'", True),
        ("INSERT INTO dbos.application_versions (version_id) VALUES ('v')", True),
        ("CREATE TABLE dbos.more (a int)", True),
        ("CREATE SCHEMA IF NOT EXISTS dbos", True),
        ("INSERT INTO aexp.ledger (run_id) VALUES ('r')", False),
        ("UPDATE dbos.workflow_status SET status = 'PENDING'", False),
        ("INSERT INTO processes (a) VALUES (1)", False),
        ("CREATE TABLE mine (a int)", False),
        ("SELECT dbos.enqueue_workflow()", False),
    ],
)
def test_bookkeeping_is_told_apart(sql: str, bookkeeping: bool) -> None:
    [effect] = effects(sql)
    assert effect.bookkeeping is bookkeeping


def announced(ordinals: Ordinals, *found: Effect) -> Write:
    return ordinals.announce(found)


def test_a_transaction_is_called_by_all_that_it_writes() -> None:
    copied = Effect(name="copy aexp.publications")
    recorded = Effect(name="insert outputs", workflow_id=f"{RUN}.2.0", step_id=1)
    write = announced(Ordinals(RUN), copied, recorded, copied)
    assert write.name == "copy aexp.publications + insert outputs"
    assert write.key == "copy aexp.publications + insert outputs [~.2.0:1]"
    assert write.point == write.key + "#1"
    assert (write.workflow_id, write.step_id) == (f"{RUN}.2.0", 1)


def test_the_name_of_a_large_transaction_is_bounded() -> None:
    write = announced(Ordinals(None), *(Effect(name=f"insert t{at}") for at in range(50)))
    assert write.name.endswith("insert t5 + …")


def test_a_write_with_a_step_is_that_steps() -> None:
    child = Effect(name="insert status", workflow_id=f"{RUN}-3")
    recorded = Effect(name="insert outputs", workflow_id=RUN, step_id=3)
    assert announced(Ordinals(RUN), child, recorded).key.endswith(" [~:3]")


def test_it_is_bookkeeping_only_if_all_of_it_is() -> None:
    noted = Effect(name="insert dbos.queues", bookkeeping=True)
    assert announced(Ordinals(None), noted).bookkeeping
    assert not announced(Ordinals(None), noted, Effect(name="insert mine")).bookkeeping


@pytest.mark.parametrize(
    ("workflow_id", "known"),
    [
        (RUN, "~"),
        (f"{RUN}.direct.queued", "~.direct.queued"),
        (f"{RUN}-12", "~-12"),
        (f"sched-tick.{RUN}-2026-11-22T17:36:41.5+00:00", "sched-tick.~-*"),
        (f"{RUN}0", f"{RUN}0"),
        ("0b6f2f3c-9d53-4a5e-8f7a-2c1f6f0f3a11-3", "*-3"),
        ("order-17", "order-17"),
    ],
)
def test_a_key_is_the_same_in_runs_of_other_ids(workflow_id: str, known: str) -> None:
    write = announced(Ordinals(RUN), Effect(name="insert t", workflow_id=workflow_id))
    assert write.key == f"insert t [{known}]"
    assert write.workflow_id == workflow_id


def test_ordinals_count_what_became_durable_by_key() -> None:
    ordinals = Ordinals(RUN)
    mine, other = (Effect(name="insert t", workflow_id=name) for name in ("a", "b"))
    assert [announced(ordinals, one).point for one in (mine, other, mine)] == [
        "insert t [a]#1",
        "insert t [b]#1",
        "insert t [a]#2",
    ]
    ordinals.take_back(announced(ordinals, mine))
    assert announced(ordinals, mine).ordinal == 3
