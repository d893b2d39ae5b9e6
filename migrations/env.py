"""Alembic's environment: async, on asyncpg, for the database that the settings name.

``alembic upgrade head`` reads the URL as ``aexp`` does (environment, ``dbos-config.yaml``, else the
embedded server); ``aexp db migrate`` hands over its own connection.
"""

import asyncio

import sqlalchemy
from alembic import context

from aexp.database import DatabaseUrl, locate_database
from aexp.database.connect import asyncpg_engine
from aexp.settings import load_settings


def migrate(connection: sqlalchemy.Connection) -> None:
    # The version table is ours too, so the schema has to be there before the first migration.
    connection.execute(sqlalchemy.text("CREATE SCHEMA IF NOT EXISTS aexp"))
    context.configure(
        connection=connection, version_table_schema="aexp", transaction_per_migration=False
    )
    with context.begin_transaction():
        context.run_migrations()


async def connect_and_migrate(url: DatabaseUrl) -> None:
    engine = asyncpg_engine(url, {"application_name": "alembic"})
    try:
        async with engine.begin() as connection:
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True, version_table_schema="aexp")
    with context.begin_transaction():
        context.execute("CREATE SCHEMA IF NOT EXISTS aexp")
        context.run_migrations()
elif (given := context.config.attributes.get("connection")) is not None:
    migrate(given)
else:
    asyncio.run(connect_and_migrate(locate_database(load_settings({}))))
