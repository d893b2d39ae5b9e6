"""Runs and their processes, the ledger of step bodies, and what `resume` publishes."""

from alembic import op

revision = "0001"
down_revision = None

TABLES = (
    # Which version of a component last migrated its own tables in this database.
    """
    CREATE TABLE aexp.components (
        name text PRIMARY KEY,
        version text NOT NULL
    )
    """,
    """
    CREATE TABLE aexp.runs (
        run_id text PRIMARY KEY,
        scenario text NOT NULL,
        target text NOT NULL,
        parameters jsonb NOT NULL,
        facts jsonb NOT NULL,
        application_version text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    """
    CREATE TABLE aexp.processes (
        process_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        run_id text NOT NULL REFERENCES aexp.runs ON DELETE CASCADE,
        executor_id text NOT NULL,
        pid integer NOT NULL,
        host text NOT NULL,
        started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        ended_at timestamptz,
        ended text,
        memory jsonb
    )
    """,
    "CREATE INDEX processes_run_id ON aexp.processes (run_id)",
    # One row for each time that a step's body began, whatever became of it, and whether the step
    # had a checkpoint by then. Append-only.
    """
    CREATE TABLE aexp.ledger (
        run_id text NOT NULL,
        workflow_id text NOT NULL,
        step text NOT NULL,
        step_id integer NOT NULL,
        pid integer NOT NULL,
        executor_id text NOT NULL,
        checkpointed boolean NOT NULL,
        began_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    "CREATE INDEX ledger_run_id ON aexp.ledger USING brin (run_id)",
    # No constraint on (run_id, position): a message published twice must show as two rows.
    # Only rows of the idempotent delivery carry a key, and only they are kept unique.
    """
    CREATE TABLE aexp.publications (
        run_id text NOT NULL,
        position bigint NOT NULL,
        channel text NOT NULL,
        body json NOT NULL,
        pid integer NOT NULL,
        idempotency_key text,
        published_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    # Rows of a run lie together, so a block range index finds them at next to no cost for COPY.
    "CREATE INDEX publications_run_id ON aexp.publications USING brin (run_id)",
    """
    CREATE UNIQUE INDEX publications_idempotency_key
        ON aexp.publications (idempotency_key) WHERE idempotency_key IS NOT NULL
    """,
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    for table in ("publications", "ledger", "processes", "runs", "components"):
        op.execute(f"DROP TABLE aexp.{table}")
