"""Which run a run was forked from, and from which step on it went its own way."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    # No reference: the run that it was forked from may be deleted, and that it was remains true.
    op.execute("ALTER TABLE aexp.runs ADD COLUMN forked_from text, ADD COLUMN fork_step integer")
    op.execute(
        "ALTER TABLE aexp.runs ADD CONSTRAINT runs_fork"
        " CHECK ((forked_from IS NULL) = (fork_step IS NULL) AND fork_step >= 1)"
    )
    op.execute("CREATE INDEX runs_forked_from ON aexp.runs (forked_from)")


def downgrade() -> None:
    op.execute("ALTER TABLE aexp.runs DROP COLUMN forked_from, DROP COLUMN fork_step")
