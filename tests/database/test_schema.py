"""Migrations: by aexp, by Alembic and by dbos, from a checkout and from an installed wheel."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import alembic.config
import alembic.script
import anyio
import httpx
import psutil
import psycopg
import pytest

from aexp.database import SCHEMA_REVISION, DatabaseUrl, ensure_schema
from aexp.database.connect import connect
from aexp.database.schema import migrations_folder
from aexp.errors import (
    DatabaseNotOurs,
    DatabaseReadOnly,
    DatabaseTooNew,
    DatabaseTooOld,
    DatabaseUnreachable,
)
from tests.support.cli import TIMEOUT_S, children_running, wait_until

pytestmark = pytest.mark.nightly


ROOT = Path(__file__).parent.parent.parent
TABLES = {
    "alembic_version",
    "components",
    "counters",
    "events",
    "executors",
    "ledger",
    "objects",
    "processes",
    "publications",
    "run_events",
    "runs",
    "step_bodies",
}


def tables(url: DatabaseUrl, schema: str) -> set[str]:
    with psycopg.connect(url.libpq) as connection:
        rows = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s", (schema,)
        ).fetchall()
    return {row[0] for row in rows}


def execute(url: DatabaseUrl, statement: str) -> None:
    with psycopg.connect(url.libpq, autocommit=True) as connection:
        connection.execute(statement.encode())


def start_tool(url: DatabaseUrl, *command: str, **variables: str) -> subprocess.Popen[str]:
    """A command of the environment that runs the tests, in the checkout's folder."""
    bin_folder = Path(sys.executable).parent
    return subprocess.Popen(
        [str(bin_folder / command[0]), *command[1:]],
        cwd=ROOT,
        env={
            **os.environ,
            "DBOS_SYSTEM_DATABASE_URL": url.libpq,
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            **variables,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_tool(url: DatabaseUrl, *command: str) -> subprocess.CompletedProcess[str]:
    """Run such a command to its end."""
    process = start_tool(url, *command)
    stdout, stderr = process.communicate(timeout=TIMEOUT_S)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def test_the_known_revision_is_the_head_of_the_migrations() -> None:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(migrations_folder()))
    assert alembic.script.ScriptDirectory.from_config(config).get_current_head() == SCHEMA_REVISION


def test_an_empty_database_is_migrated_once(empty_database: DatabaseUrl) -> None:
    assert anyio.run(ensure_schema, empty_database) is True
    assert anyio.run(ensure_schema, empty_database) is False
    assert tables(empty_database, "aexp") == TABLES
    assert {"workflow_status", "datasource_outputs"} <= tables(empty_database, "dbos")


def test_a_missing_database_is_made(server: DatabaseUrl) -> None:
    url = server.with_name("made-by-aexp")
    with pytest.raises(DatabaseUnreachable, match="no database"):
        anyio.run(ensure_schema, url)
    try:
        assert anyio.run(partial(ensure_schema, url, create=True)) is True
        assert tables(url, "aexp") == TABLES
    finally:
        execute(server.with_name("postgres"), 'DROP DATABASE IF EXISTS "made-by-aexp" (FORCE)')


def test_four_processes_that_start_at_once_migrate_once(empty_database: DatabaseUrl) -> None:
    code = (
        "import sys, anyio; from aexp.database import *;"
        "print(anyio.run(ensure_schema, DatabaseUrl.parse(sys.argv[1])))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, empty_database.libpq], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    outputs = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert sorted(outputs) == ["False", "False", "False", "True"]


def test_a_database_of_somebody_else_is_refused_and_left_alone(
    empty_database: DatabaseUrl,
) -> None:
    execute(empty_database, "CREATE SCHEMA aexp")
    execute(empty_database, "CREATE TABLE aexp.theirs ()")
    with pytest.raises(DatabaseNotOurs, match="theirs"):
        anyio.run(ensure_schema, empty_database)
    assert tables(empty_database, "aexp") == {"theirs"}
    assert tables(empty_database, "dbos") == set()


def test_a_newer_database_is_refused(database: DatabaseUrl) -> None:
    execute(database, "UPDATE aexp.alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseTooNew, match="9999"):
        anyio.run(ensure_schema, database)


def test_a_read_only_database_is_refused(database: DatabaseUrl) -> None:
    execute(database, f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    with pytest.raises(DatabaseReadOnly, match="read-only"):
        anyio.run(ensure_schema, database)


def test_a_server_that_is_too_old_is_refused(
    database: DatabaseUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No older server is at hand, so the bound moves instead of the server.
    monkeypatch.setattr("aexp.database.connect.OLDEST_SERVER", 99)
    with pytest.raises(DatabaseTooOld, match="needs 99 or newer"):
        anyio.run(connect, database)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("postgresql://u:hidden@127.0.0.1:9/x", "no server listens there"),
        ("postgresql://u:hidden@host.invalid/x", "host name is unknown"),
    ],
)
def test_an_unreachable_database_says_why_and_not_the_password(text: str, reason: str) -> None:
    with pytest.raises(DatabaseUnreachable, match=reason) as caught:
        anyio.run(connect, DatabaseUrl.parse(text))
    assert "hidden" not in str(caught.value)


def test_alembic_goes_up_down_and_up_again(empty_database: DatabaseUrl) -> None:
    for direction, expected in (
        (("upgrade", "head"), TABLES),
        (("downgrade", "base"), {"alembic_version"}),
        (("upgrade", "head"), TABLES),
    ):
        done = run_tool(empty_database, "alembic", *direction)
        assert done.returncode == 0, done.stderr
        assert tables(empty_database, "aexp") == expected
    # What Alembic alone has migrated still lacks DBOS's own tables: aexp adds them.
    assert anyio.run(ensure_schema, empty_database) is True
    assert "workflow_status" in tables(empty_database, "dbos")


@pytest.mark.parametrize("signalled", ["the service", "dbos start"])
def test_dbos_migrate_and_dbos_start_work(empty_database: DatabaseUrl, signalled: str) -> None:
    migrated = run_tool(empty_database, "dbos", "migrate")
    assert migrated.returncode == 0, migrated.stdout + migrated.stderr
    assert tables(empty_database, "aexp") == TABLES

    started = start_tool(empty_database, "dbos", "start", AEXP_LISTEN_PORT="0")
    assert started.stdout is not None
    said = next(line for line in started.stdout if line.startswith("aexp serves "))
    (service,) = children_running(started.pid, "serve")
    try:
        url = said.removeprefix("aexp serves ").strip()
        ready = {"status": "ready"}
        wait_until(lambda: httpx.get(f"{url}/readyz", trust_env=False).json() == ready)
        # Told itself, `dbos start` passes the signal on and leaves with 1, whatever becomes of it.
        (service if signalled == "the service" else started).send_signal(signal.SIGTERM)
        # Open until the service has ended too.
        _, stderr = started.communicate(timeout=TIMEOUT_S)
    finally:
        for process in (started, service):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        started.communicate()
    assert "service.stopped" in stderr
    assert started.returncode == (0 if signalled == "the service" else 1)


def test_an_installed_wheel_carries_its_migrations(
    empty_database: DatabaseUrl, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns(".*", "tests", "__pycache__", "*.egg-info")
    )
    installed = tmp_path / "installed"
    # Into a folder of its own beside the environment's dependencies: what a wheel holds, no more.
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--target", str(installed),
            str(source),
        ],
        check=True,
        timeout=300,
    )  # fmt: skip
    shutil.rmtree(source)
    done = subprocess.run(
        [sys.executable, "-m", "aexp", "run", "resume", "--json"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(installed),
            "DBOS_SYSTEM_DATABASE_URL": empty_database.libpq,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"once": 20' in done.stdout
    assert (installed / "aexp" / "migrations" / "env.py").is_file()
