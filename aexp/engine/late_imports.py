"""What DBOS, and what it stands on, import only when they come to it."""

from __future__ import annotations

__all__ = ["import_late"]


def import_late() -> None:
    """Import all of it now, for the processes that this one will fork."""
    # ruff: noqa: F401, PLC0415 - that they are there is all that is wanted, and not yet at the top
    import anyio._backends._asyncio
    import dbos._sys_db_postgres
    import psycopg
    import sqlalchemy.dialects.postgresql.asyncpg
    import sqlalchemy.dialects.postgresql.psycopg
    import sqlalchemy.dialects.sqlite
    import uvloop
