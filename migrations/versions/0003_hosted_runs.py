"""Runs that a service hosts: which they are, and what befell them, in order."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # A service goes on with its own runs when it starts, and with nobody else's.
    op.execute("ALTER TABLE aexp.runs ADD COLUMN hosted boolean NOT NULL DEFAULT false")
    op.execute("CREATE INDEX runs_created_at ON aexp.runs (created_at DESC, run_id DESC)")
    # Numbered without gaps by the one process that hosts the run, so that who has read up to a
    # number misses nothing.
    op.execute(
        """
        CREATE TABLE aexp.run_events (
            run_id text NOT NULL REFERENCES aexp.runs ON DELETE CASCADE,
            seq bigint NOT NULL,
            event text NOT NULL,
            data jsonb NOT NULL,
            happened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            PRIMARY KEY (run_id, seq)
        )
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE aexp.run_events")
    op.execute("DROP INDEX aexp.runs_created_at")
    op.execute("ALTER TABLE aexp.runs DROP COLUMN hosted")
