"""The embedded PostgreSQL, through the command line, in a folder of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from aexp.database import DatabaseUrl, embedded
from aexp.database.cluster import data_folder
from tests.conftest import server_folder
from tests.support.cli import TIMEOUT_S, Cli, wait_until


@pytest.fixture
def alone() -> Iterator[Cli]:
    """The command without any database given."""
    with server_folder() as folder, Cli(folder=folder, url=None) as cli:
        yield cli


def test_it_starts_when_needed_stays_up_and_stops_when_told(alone: Cli) -> None:
    home = alone.folder / ".aexp"
    url = alone("db", "url")
    assert url.code == 0
    assert url.stdout.startswith("postgresql://")
    pid = embedded.running_pid(home)
    assert pid is not None

    ran = alone("run", "resume", "--set", "messages=2", "--json")
    assert ran.code == 0, ran.stderr
    assert embedded.running_pid(home) == pid

    counted = alone("db", "psql", "-tAc", "SELECT count(*) FROM aexp.publications")
    assert counted.stdout.strip() == "2"

    stopped = alone("db", "stop")
    assert (stopped.code, stopped.stdout.strip()) == (0, "PostgreSQL has stopped")
    assert embedded.running_pid(home) is None
    assert alone("db", "stop").stdout.strip() == "PostgreSQL was not running"

    # The data outlives the server.
    assert alone("audit", ran.json["run_id"], "--json").json["account"]["messages"]["once"] == 2

    asked = alone("db", "reset")
    assert asked.code == 1
    assert asked.stderr.endswith("aexp: nothing was dropped\n")
    assert alone("db", "reset", "--yes").code == 0
    assert alone("runs", "--json").json == []


def test_a_pid_file_that_a_crash_left_behind_is_no_obstacle(alone: Cli) -> None:
    alone("db", "start")
    alone("db", "stop")
    data = data_folder(alone.folder / ".aexp")
    # The pid of a process that lives and is no PostgreSQL: this one.
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n1\n5432\n{data}\n\n\nready\n")

    started = alone("db", "start")

    assert started.code == 0, started.stderr
    assert embedded.running_pid(alone.folder / ".aexp") not in {None, os.getpid()}


def test_stopping_one_server_never_stops_another(alone: Cli) -> None:
    for home in ("a", "b"):
        assert alone("db", "start", "--home", home).code == 0
    other = embedded.running_pid(alone.folder / "b")
    assert other is not None
    assert alone("db", "stop", "--home", "a").code == 0
    data = data_folder(alone.folder / "a")
    (data / "postmaster.pid").write_text(f"{other}\n{data}\n1\n5432\n{data}\n\n\nready\n")
    try:
        assert alone("db", "stop", "--home", "a").stdout.strip() == "PostgreSQL was not running"
        assert embedded.running_pid(alone.folder / "b") == other
        assert alone("db", "start", "--home", "a").code == 0
    finally:
        embedded.stop(alone.folder / "a")
        embedded.stop(alone.folder / "b")


def test_a_folder_that_is_not_empty_gives_the_reason_of_initdb(alone: Cli) -> None:
    data = data_folder(alone.folder / ".aexp")
    data.mkdir(parents=True)
    (data / "theirs").write_text("")
    failed = alone("db", "start")
    assert failed.code == 3
    assert "exists but is not empty" in failed.error


def test_a_garbled_pid_file_is_no_obstacle(alone: Cli) -> None:
    alone("db", "start")
    alone("db", "stop")
    (data_folder(alone.folder / ".aexp") / "postmaster.pid").write_text("garbage\n")
    assert alone("db", "start").code == 0


def test_a_home_that_is_a_file_is_one_clear_line(alone: Cli) -> None:
    (alone.folder / "file").write_text("")
    failed = alone("run", "resume", "--home", "file/inside")
    assert failed.code == 3
    assert "set AEXP_HOME to a writable folder" in failed.error


def test_who_only_looks_makes_no_server_and_no_folder(alone: Cli) -> None:
    looked = alone("runs")
    assert (looked.code, looked.stderr) == (0, "")
    assert looked.stdout.startswith("no runs here: ")
    assert alone("runs", "--json").json == []
    assert alone("workers", "--json").json == []
    for command in (
        ("audit", "x"),
        ("report", "x", "-o", "-"),
        ("resume", "x"),
        ("recover", "x"),
        ("db", "reset", "--yes"),
    ):
        failed = alone(*command)
        assert failed.code == 2, command
        assert failed.error.startswith("no runs here: ")
    assert list(alone.folder.iterdir()) == []


def test_the_url_of_a_server_that_was_stopped_tells_how_to_start_it(alone: Cli) -> None:
    alone.url = DatabaseUrl.parse(alone("db", "url").stdout.strip())
    assert alone("db", "stop").stdout.strip() == "PostgreSQL has stopped"
    failed = alone("run", "scope", "--set", "steps=2")
    assert failed.code == 3
    advice = re.search(r"`aexp (db start --home (\S+))` starts it", failed.error)
    assert advice is not None
    assert Path(advice[2]) == alone.folder / ".aexp"
    # The variable is still set, as after `export DBOS_SYSTEM_DATABASE_URL=$(aexp db url)`.
    assert alone(*advice[1].split()).code == 0
    assert alone("run", "scope", "--set", "steps=2").code == 0
    for command in ("start", "stop"):
        refused = alone("db", command, "--home", "elsewhere")
        assert refused.code == 2
        assert "give one of them" in refused.error
    assert not (alone.folder / "elsewhere").exists()


def test_a_typo_in_a_name_makes_no_database(alone: Cli) -> None:
    url = DatabaseUrl.parse(alone("db", "url").stdout.strip())
    typo = url.with_name("shpo").libpq
    for command in (("run", "scope"), ("worker",), ("serve", "--port", "0"), ("db", "migrate")):
        failed = alone(*command, "--database-url", typo)
        assert failed.code == 3
        assert "no database 'shpo'" in failed.error
        assert "`aexp db migrate --create`" in failed.error
    alone.url = url
    assert alone.query("SELECT 1 FROM pg_database WHERE datname = 'shpo'") == []
    made = alone("db", "migrate", "--create", "--database-url", typo)
    assert made.code == 0, made.stderr
    assert alone("run", "scope", "--set", "steps=2", "--database-url", typo).code == 0


@pytest.mark.parametrize(("answer", "code"), [("n", 3), ("y", 0)])
def test_migrate_asks_on_a_terminal_before_it_makes_a_database(
    server: DatabaseUrl, tmp_path: Path, answer: str, code: int
) -> None:
    name = f"asked_{answer}"
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "aexp", "db", "migrate"],
        cwd=tmp_path,
        env={**os.environ, "DBOS_SYSTEM_DATABASE_URL": server.with_name(name).libpq},
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.write(ours, f"{answer}\n".encode())
    _, stderr = process.communicate(timeout=TIMEOUT_S)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == code, stderr
    assert "Make it?" in stderr
    with psycopg.connect(server.libpq, autocommit=True) as connection:
        query = "SELECT count(*) FROM pg_database WHERE datname = %s"
        assert connection.execute(query, [name]).fetchone() == (int(code == 0),)


def test_several_first_commands_at_once_start_one_server(alone: Cli) -> None:
    results = [alone.wait(process) for process in [alone.start("db", "url") for _ in range(4)]]
    assert [result.code for result in results] == [0] * 4, [one.stderr for one in results]
    assert len({result.stdout for result in results}) == 1
    assert len([event for one in results for event in one.events]) <= 2


@pytest.mark.parametrize("name", ["with space", 'it\'s "$(odd)", ünd;100%'])
def test_a_home_of_any_name(alone: Cli, name: str) -> None:
    try:
        assert alone("db", "start", "--home", name).code == 0
        ran = alone("run", "scope", "--set", "steps=2", "--home", name, "--kills", "1", "--json")
        assert ran.code == 0, ran.stderr
        stopped = alone("db", "stop", "--home", name)
        assert stopped.stdout.strip() == "PostgreSQL has stopped"
    finally:
        embedded.stop(alone.folder / name)


def test_a_home_with_a_line_break_is_one_clear_line(alone: Cli) -> None:
    failed = alone("db", "start", "--home", "two\nlines")
    assert failed.code == 3
    assert "control characters" in failed.error
    assert not (alone.folder / "two\nlines").exists()


def test_data_that_postgres_refuses_gives_its_own_reason(alone: Cli) -> None:
    alone("db", "start")
    alone("db", "stop")
    data = data_folder(alone.folder / ".aexp")
    (data / "postgresql.auto.conf").write_text("no_such_setting = 1\n")

    failed = alone("db", "start")

    assert failed.code == 3
    assert "postgresql.auto.conf" in failed.error
    assert "contains errors" in failed.error


def test_another_server_is_neither_started_nor_stopped(alone: Cli) -> None:
    for command in ("start", "stop"):
        failed = alone("db", command, "--database-url", "postgresql://u@127.0.0.1:1/x")
        assert failed.code == 2
        assert "for the embedded server" in failed.error


@pytest.mark.nightly
def test_a_server_that_dies_in_the_middle_is_exit_code_3_and_loses_nothing(alone: Cli) -> None:
    home = alone.folder / ".aexp"
    alone("db", "start")
    process = alone.start(
        "run", "resume", "--run-id", "x", "--set", "messages=100", "--set", "concurrency=2"
    )
    alone.url = embedded.start(home)
    published = "SELECT count(*) FROM aexp.publications"
    wait_until(lambda: alone("db", "psql", "-tAc", published).stdout.strip() not in {"", "0"})
    pid = embedded.running_pid(home)
    assert pid is not None
    os.kill(pid, signal.SIGQUIT)  # immediate shutdown

    result = alone.wait(process)

    assert result.code == 3, result.stderr
    assert "`aexp resume x` goes on" in result.stderr.splitlines()[-1]
    alone.url = None
    resumed = alone("resume", "x", "--json")
    assert resumed.code == 0, resumed.stderr
    assert resumed.json["account"]["messages"]["once"] == 100


@pytest.mark.nightly
def test_a_worker_that_is_left_alone_ends_although_the_server_hangs(alone: Cli) -> None:
    alone.environment = {"AEXP_DRAIN_TIMEOUT_S": "0"}
    alone("db", "migrate")
    alone.url = embedded.start(alone.folder / ".aexp")
    process = alone.start("run", "resume", "--kills", "1", "--seed", "3", "--set", "messages=500")
    alone.await_row("SELECT 1 FROM aexp.publications OFFSET 20 LIMIT 1")
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    pid = embedded.running_pid(alone.folder / ".aexp")
    assert pid is not None
    postmaster = psutil.Process(pid)
    servers = [postmaster, *postmaster.children(recursive=True)]
    try:
        for server in servers:
            server.suspend()
        process.kill()
        _, alive = psutil.wait_procs(workers, timeout=TIMEOUT_S)
        assert not alive
    finally:
        for server in reversed(servers):
            server.resume()
