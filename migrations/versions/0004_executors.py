"""Processes that serve runs, by the name of their executor."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # Who lives is told by locks; this tells where to look for one that does not.
    op.execute(
        """
        CREATE TABLE aexp.executors (
            executor_id text PRIMARY KEY,
            serves text NOT NULL,
            host text NOT NULL,
            pid integer NOT NULL,
            started_at timestamptz NOT NULL DEFAULT clock_timestamp()
        )
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE aexp.executors")
