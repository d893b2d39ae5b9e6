"""Every row of a workflow that is changed in an experiment, noted by the database itself.

What a proxy sees is what a statement asks for. Whether that changed a row, DBOS decides in its
WHERE and ON CONFLICT clauses, and only the database knows. Triggers in the experiment's own copy
note it within the transaction that changes the row, so that what is rolled back is not noted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from aexp.crash.judge.ownership import Change, Phase
from aexp.database.connect import Connection

__all__ = ["note_changes", "read_changes", "read_clock", "read_numbers"]

_NOTES = """
    CREATE SCHEMA aexp_crash;
    CREATE TABLE aexp_crash.changes (
        change_no bigint GENERATED ALWAYS AS IDENTITY,
        session text NOT NULL,
        began_at timestamptz NOT NULL,
        operation text NOT NULL,
        relation text NOT NULL,
        before jsonb,
        after jsonb
    );
    CREATE FUNCTION aexp_crash.note() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'UPDATE' AND OLD IS NOT DISTINCT FROM NEW THEN
            RETURN NULL;
        END IF;
        INSERT INTO aexp_crash.changes (session, began_at, operation, relation, before, after)
        VALUES (
            current_setting('application_name'), transaction_timestamp(), lower(TG_OP),
            TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME,
            CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END,
            CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END
        );
        RETURN NULL;
    END $$;
    DO $$
    DECLARE
        relation regclass;
    BEGIN
        FOR relation IN
            SELECT DISTINCT attrelid FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
            WHERE relnamespace = 'dbos'::regnamespace AND relkind = 'r'
                AND attname IN ('workflow_uuid', 'workflow_id') AND NOT attisdropped
        LOOP
            EXECUTE format(
                'CREATE TRIGGER aexp_crash AFTER INSERT OR UPDATE OR DELETE ON %s'
                ' FOR EACH ROW EXECUTE FUNCTION aexp_crash.note()', relation);
        END LOOP;
    END $$;
"""

_CHANGES = """
    SELECT change_no, session, began_at < $1::timestamptz AS began_earlier, operation, relation,
        coalesce(row ->> 'workflow_uuid', row ->> 'workflow_id') AS workflow_id,
        coalesce(row ->> 'function_id', row ->> 'step_id')::int AS step_id,
        row ->> 'status' AS status, before ->> 'status' AS before,
        row ->> 'parent_workflow_id' AS parent
    FROM aexp_crash.changes, LATERAL (SELECT coalesce(after, before) AS row) AS one
    ORDER BY change_no
"""


async def note_changes(connection: Connection) -> None:
    """Note every change of a workflow's row in this database from now on."""
    await connection.execute(_NOTES)


async def read_clock(connection: Connection) -> object:
    """Read the time of the server."""
    return await connection.fetchval("SELECT clock_timestamp()")


async def read_numbers(connection: Connection) -> frozenset[int]:
    """Read the numbers of the changes that are durable now."""
    rows = await connection.fetch("SELECT change_no FROM aexp_crash.changes")
    return frozenset(row["change_no"] for row in rows)


async def read_changes(
    connection: Connection,
    *,
    sessions: Mapping[str, str],
    earlier: Collection[int],
    continued_at: object,
) -> list[Change]:
    """Read all changes, in order. ``sessions`` are the executors by the names of their sessions,
    ``earlier`` the numbers of what was durable when the stopped executor went on, which was at
    ``continued_at`` by the clock of the server.
    """
    return [
        Change(
            executor_id=sessions.get(row["session"], ""),
            operation=row["operation"],
            table=row["relation"],
            workflow_id=row["workflow_id"],
            phase=_phase(row["change_no"] in earlier, row["began_earlier"]),
            step_id=row["step_id"],
            status=row["status"],
            before=row["before"],
            parent=row["parent"],
        )
        for row in await connection.fetch(_CHANGES, continued_at)
    ]


def _phase(durable: bool, began_earlier: bool) -> Phase:  # noqa: FBT001
    if durable:
        return Phase.EARLIER
    return Phase.HELD_OPEN if began_earlier else Phase.LATER
