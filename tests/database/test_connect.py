"""Connections that wait in a pool: one that the server has ended is not given out."""

from __future__ import annotations

import psycopg
import pytest
import sqlalchemy

from aexp.database import DatabaseUrl, connect
from aexp.database.connect import psycopg_engine


def backend(engine: sqlalchemy.Engine) -> int:
    with engine.begin() as connection:
        return int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


def end(database: DatabaseUrl, pid: int) -> None:
    """End a session, and return when the server has ended it: 10 s at most."""
    with psycopg.connect(database.libpq, autocommit=True) as connection:
        row = connection.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,)).fetchone()
    assert row == (True,)


@pytest.fixture
def engine(database: DatabaseUrl) -> sqlalchemy.Engine:
    return psycopg_engine(database, pool_size=1, max_overflow=0)


def test_a_connection_that_lives_is_used_again(engine: sqlalchemy.Engine) -> None:
    assert backend(engine) == backend(engine)
    engine.dispose()


@pytest.mark.parametrize("surely_alive_s", [0.0, 3600.0], ids=["idle for long", "just used"])
def test_a_connection_that_the_server_has_ended_is_replaced(
    database: DatabaseUrl,
    engine: sqlalchemy.Engine,
    monkeypatch: pytest.MonkeyPatch,
    surely_alive_s: float,
) -> None:
    monkeypatch.setattr(connect, "_SURELY_ALIVE_S", surely_alive_s)
    ended = backend(engine)
    end(database, ended)

    assert backend(engine) != ended
    engine.dispose()
