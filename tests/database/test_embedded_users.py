"""The embedded PostgreSQL among the users of one machine: nobody gets in, nobody is kept out."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from aexp.database import DatabaseUrl, cluster, embedded
from aexp.database.cluster import data_folder, home_of_socket
from aexp.database.programs import program
from aexp.database.server_user import SYSTEM_USER, ServerUser, require_reach
from aexp.errors import EmbeddedServerError
from tests.conftest import server_folder
from tests.support.cli import Cli, Result
from tests.support.users import User, needs_root, user_folder

pytestmark = pytest.mark.nightly

NOBODY, DAEMON = User("nobody"), User("daemon")
# Too long for the name of a socket.
LONG = "/".join(["a" * 60] * 3)
PSQL = str(program("psql"))


def mode(path: Path) -> int:
    """Its permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def socket_folder(url: str) -> Path:
    """Where the socket of the server of ``url`` is."""
    folder = DatabaseUrl.parse(url.strip()).socket_folder
    assert folder is not None
    return folder


@pytest.fixture(params=["short", "long"])
def below(request: pytest.FixtureRequest) -> str:
    """Where in a folder the server has its home."""
    return "" if request.param == "short" else LONG


@pytest.fixture
def alone() -> Iterator[Cli]:
    """The command of whoever runs the tests, without any database given."""
    with server_folder() as folder, Cli(folder=folder, url=None) as cli:
        yield cli


@pytest.fixture
def placed(alone: Cli, below: str) -> Iterator[Cli]:
    """The same, with its server at a short path and at a long one."""
    folder = alone.folder / below
    folder.mkdir(parents=True, exist_ok=True)
    with Cli(folder=folder, url=None) as cli:
        yield cli
        embedded.stop(folder / ".aexp")


def fails_as(user: User, url: str) -> Result:
    """How ``user`` fails to use the database."""
    result = user.run(PSQL, url.strip(), "-c", "SELECT 1")
    assert result.code != 0, result.stdout
    return result


def test_its_socket_is_in_a_folder_of_its_users_placed(placed: Cli) -> None:
    url = placed("db", "url").stdout
    folder = socket_folder(url)
    assert mode(folder) == 0o700
    assert mode(folder / ".s.PGSQL.5432") == 0o700
    assert home_of_socket(folder) == placed.folder / ".aexp"
    with psycopg.connect(url.strip()) as connection:
        assert connection.execute("SHOW unix_socket_permissions").fetchone() == ("0700",)
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
    placed("db", "stop")
    assert not (folder / ".s.PGSQL.5432").exists()


@needs_root
def test_no_other_user_uses_the_database_of_root(placed: Cli) -> None:
    started = placed("db", "url")
    assert "Permission denied" in fails_as(NOBODY, started.stdout).stderr
    # Nor were every folder open to everybody.
    folder = socket_folder(started.stdout)
    folder.chmod(0o755)
    (folder / ".s.PGSQL.5432").chmod(0o777)
    assert "Peer authentication failed" in fails_as(NOBODY, started.stdout).stderr
    assert placed("db", "psql", "-tAc", "SELECT 1").code == 3, "opened folders are told"


@needs_root
def test_no_other_user_uses_the_database_of_a_user(below: str) -> None:
    with user_folder(NOBODY, below=below) as folder:
        started = NOBODY.aexp("db", "url", folder=folder)
        assert started.code == 0, started.stderr
        assert NOBODY.run(PSQL, started.stdout.strip(), "-c", "SELECT 1").code == 0
        assert "Permission denied" in fails_as(DAEMON, started.stdout).stderr
        opened = socket_folder(started.stdout)
        for path in (folder / ".aexp", opened):
            path.chmod(0o755)
        (opened / ".s.PGSQL.5432").chmod(0o777)
        assert "Peer authentication failed" in fails_as(DAEMON, started.stdout).stderr


@needs_root
def test_a_second_user_runs_beside_the_first() -> None:
    with user_folder(NOBODY) as first, user_folder(DAEMON) as second:
        for user, folder in ((NOBODY, first), (DAEMON, second)):
            ran = user.aexp("run", "scope", "--set", "steps=2", folder=folder)
            assert ran.code == 0, ran.stderr
            assert "Exception ignored" not in ran.stderr
            assert mode(folder / ".aexp") == 0o700
            pid = embedded.running_pid(folder / ".aexp")
            assert pid is not None
            assert psutil.Process(pid).uids().real == user.uid


@needs_root
def test_root_steps_down_and_says_so_and_changes_no_folder_of_others(alone: Cli) -> None:
    above = {path: path.stat() for path in alone.folder.parents}
    alone.environment = {"SOME_TOKEN": "secret"}
    started = alone("db", "start")
    assert started.code == 0, started.stderr
    assert [event["user"] for event in started.events] == [SYSTEM_USER] * len(started.events)
    assert started.events[-1]["event"] == "embedded.stepped_down"
    pid = embedded.running_pid(alone.folder / ".aexp")
    assert psutil.Process(pid).username() == SYSTEM_USER
    for path, before in above.items():
        assert path.stat().st_mode == before.st_mode, path
        assert path.stat().st_uid == before.st_uid, path
    assert "secret" not in psutil.Process(pid).environ().values()


@needs_root
def test_root_is_refused_where_its_server_cannot_pass(alone: Cli) -> None:
    alone.folder.chmod(0o700)
    failed = alone("db", "start")
    assert failed.code == 3
    assert "may not enter" in failed.error
    assert "set AEXP_HOME" in failed.error
    assert mode(alone.folder) == 0o700
    assert not data_folder(alone.folder / ".aexp").exists()


@needs_root
def test_root_is_refused_where_its_server_cannot_run_the_programs(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    user = ServerUser("nobody", nobody.pw_uid, nobody.pw_gid)
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    shutil.copy("/bin/true", hidden / "postgres")
    with pytest.raises(EmbeddedServerError, match=r"may not run .*install aexp where others may"):
        require_reach(user, Path("/"), hidden / "postgres", "AEXP_HOME")
    require_reach(user, Path("/"), Path("/bin/true"), "AEXP_HOME")


@needs_root
@pytest.mark.parametrize("used", [True, False])
def test_root_does_not_touch_what_is_a_users(used: bool) -> None:
    with user_folder(NOBODY) as folder, Cli(folder=folder, url=None) as root:
        if used:
            assert NOBODY.aexp("db", "start", folder=folder).code == 0
        before = {path: path.stat().st_uid for path in folder.rglob("*")}
        for command in (("run", "scope"), ("db", "start")):
            failed = root(*command)
            assert failed.code == 3
            assert "belongs to user nobody" in failed.error
        assert {path: path.stat().st_uid for path in folder.rglob("*")} == before
        if used:
            assert root("db", "stop").code == 3
            ran = NOBODY.aexp("run", "scope", "--set", "steps=2", folder=folder)
            assert ran.code == 0, ran.stderr
        else:
            assert before == {}


@needs_root
def test_a_user_is_refused_in_the_folder_of_another(alone: Cli) -> None:
    assert alone("db", "start").code == 0
    home = str(alone.folder / ".aexp")
    with user_folder(NOBODY) as folder:
        for command in ("start", "stop"):
            failed = NOBODY.aexp("db", command, "--home", home, folder=folder)
            assert failed.code == 3
            assert "belongs to user root" in failed.error
    assert embedded.running_pid(alone.folder / ".aexp") is not None


# Steps down when all is imported: its interpreter may lie where the user cannot read.
_LOOK = """
import os, sys
from pathlib import Path
import psycopg
from aexp.database import embedded
from aexp.errors import EmbeddedServerError
os.setgid(65534)
os.setuid(int(sys.argv[1]))
for look in (embedded.has_data, embedded.stop, embedded.start):
    try:
        print(look(Path(sys.argv[2])))
    except EmbeddedServerError as error:
        print(error)
"""


@needs_root
def test_a_folder_that_is_hidden_from_the_user_is_one_clear_line(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    done = subprocess.run(
        [sys.executable, "-c", _LOOK, str(NOBODY.uid), str(hidden / "x")],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stdout
    for line in lines:
        assert "Permission denied" in line
        assert "set AEXP_HOME" in line


@needs_root
def test_a_socket_folder_that_somebody_else_made_is_not_used() -> None:
    with user_folder(NOBODY, below=LONG) as folder:
        url = NOBODY.aexp("db", "url", folder=folder).stdout
        NOBODY.aexp("db", "stop", folder=folder)
        taken = socket_folder(url)
        os.chown(taken, DAEMON.uid, -1)
        failed = NOBODY.aexp("db", "start", folder=folder)
        shutil.rmtree(taken)
        assert failed.code == 3
        assert f"{taken}, where the socket" in failed.error


def test_data_on_which_an_unseen_server_works_is_left_alone(
    alone: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone("db", "start")
    alone("db", "stop")
    home = alone.folder / ".aexp"
    (data_folder(home) / "postmaster.pid").write_text("1\n")
    monkeypatch.setattr(embedded, "_REMAINS_TIMEOUT_S", 0.1)
    with (home / "server.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(EmbeddedServerError, match="of a container perhaps"):
            embedded.start(home)
        assert (data_folder(home) / "postmaster.pid").exists()
    assert alone("db", "start").code == 0
    with (home / "server.lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_folder_that_is_renamed_under_its_server_keeps_it() -> None:
    with server_folder() as folder:
        old, new = folder / "old", folder / "new"
        embedded.start(old)
        pid = embedded.running_pid(old)
        old.rename(new)
        try:
            url = embedded.start(new)
            assert embedded.running_pid(new) == pid
            with psycopg.connect(url.libpq) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
        finally:
            embedded.stop(new)


def test_a_server_whose_folder_is_removed_is_no_obstacle_to_the_next(alone: Cli) -> None:
    home = alone.folder / ".aexp"
    embedded.start(home)
    deserted = psutil.Process(embedded.running_pid(home))
    shutil.rmtree(home)
    alone.url = embedded.start(home)
    assert not deserted.is_running()
    assert embedded.running_pid(home) not in {None, deserted.pid}
    assert alone.query("SELECT 1") == [(1,)]


def test_what_a_killed_initdb_has_left_is_removed() -> None:
    with server_folder() as folder:
        left = folder / ".aexp" / ".initdb-left"
        left.mkdir(parents=True)
        (folder / ".aexp").chmod(0o711)
        (left / "PG_VERSION").write_text("18\n")
        embedded.start(folder / ".aexp")
        assert not left.exists()


def test_data_of_another_version_is_refused_in_one_line(alone: Cli) -> None:
    alone("db", "start")
    alone("db", "stop")
    version = data_folder(alone.folder / ".aexp") / "PG_VERSION"
    version.write_text("16\n")
    failed = alone("db", "start")
    assert failed.code == 3
    assert "was made by PostgreSQL 16" in failed.error
    version.write_text("18\n")
    assert alone("db", "start").code == 0


def test_no_socket_name_is_longer_than_a_socket_may_have(tmp_path: Path) -> None:
    assert cluster._is_fit(Path("/" + "a" * 88))
    assert not cluster._is_fit(Path("/" + "a" * 90))
    assert not cluster._is_fit(Path("/with space"))
