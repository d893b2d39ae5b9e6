"""Every body of a step that ran, and which processes were recorded at all."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    # Of earlier processes nobody knows which bodies ran in them.
    op.execute(
        "ALTER TABLE aexp.processes ADD COLUMN recording text,"
        " ADD COLUMN recorded boolean NOT NULL DEFAULT false"
    )
    op.execute(
        """
        CREATE TABLE aexp.step_bodies (
            run_id text NOT NULL,
            process_no bigint NOT NULL,
            workflow_id text NOT NULL,
            step_id integer NOT NULL,
            name text NOT NULL,
            attempt integer NOT NULL,
            transactional boolean NOT NULL,
            arguments text NOT NULL,
            site text,
            began_at timestamptz NOT NULL,
            ended_at timestamptz,
            error text,
            recorded_at timestamptz
        )
        """
    )
    # As of the ledger: rows of a run lie together.
    op.execute("CREATE INDEX step_bodies_run_id ON aexp.step_bodies USING brin (run_id)")


def downgrade() -> None:
    op.execute("DROP TABLE aexp.step_bodies")
    op.execute("ALTER TABLE aexp.processes DROP COLUMN recording, DROP COLUMN recorded")
