"""Events of processes, durable counters, and the catalogue of objects."""

from alembic import op

revision = "0002"
down_revision = "0001"

TABLES = (
    # What a process did and when, beside the bodies of steps: credentials fetched, ticks seen.
    # Append-only; what is in data is the scenario's affair.
    """
    CREATE TABLE aexp.events (
        run_id text NOT NULL,
        event text NOT NULL,
        workflow_id text,
        pid integer NOT NULL,
        data jsonb NOT NULL,
        happened_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    "CREATE INDEX events_run_id ON aexp.events USING brin (run_id)",
    """
    CREATE TABLE aexp.counters (
        run_id text NOT NULL,
        name text NOT NULL,
        value bigint NOT NULL,
        PRIMARY KEY (run_id, name)
    )
    """,
    # No constraint on (run_id, key): an object catalogued twice must show as two rows.
    """
    CREATE TABLE aexp.objects (
        run_id text NOT NULL,
        page integer NOT NULL,
        key text NOT NULL,
        size bigint NOT NULL,
        modified timestamptz NOT NULL,
        etag text,
        pid integer NOT NULL,
        catalogued_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    "CREATE INDEX objects_run_id ON aexp.objects USING brin (run_id)",
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    for table in ("objects", "counters", "events"):
        op.execute(f"DROP TABLE aexp.{table}")
