"""A transaction that is rolled back leaves a gap in a sequence; its database is known at import."""

from __future__ import annotations

import os

from dbos import DBOS, SQLAlchemyDatasource
from sqlalchemy import text

datasource = SQLAlchemyDatasource.create(
    os.environ["DBOS_SYSTEM_DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://")
)


@datasource.transaction(name="create")
def create() -> None:
    datasource.sql_session().execute(text("CREATE TABLE sales (number serial, cents int)"))


@datasource.transaction(name="sell")
def sell() -> int:
    sql = text("INSERT INTO sales (cents) VALUES (100) RETURNING number")
    return int(datasource.sql_session().execute(sql).scalar_one())


@DBOS.workflow()
def order() -> int:
    create()
    return sell()
