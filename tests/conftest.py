"""One embedded PostgreSQL for the session, and a database of its own for each test that asks.

Databases are cloned from a migrated template (0.06 s each). Every async test runs on asyncio and on
uvloop, but for those of ``one_loop``, whose work is done by other processes.
"""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import anyio
import psycopg
import pytest
import pytest_asyncio
import uvloop

from aexp.database import DatabaseUrl, embedded, ensure_schema
from aexp.database.connect import Connection, connect
from tests.support.cli import Cli
from tests.support.explorations import explorations_ended
from tests.support.log_lines import Lines, logging_as_before
from tests.support.service import Served, serving
from tests.support.sockets import remove_socket_folders
from tests.support.token_server import Endpoint, endpoint

TEMPLATE = "aexp_template"


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    loops = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"uvloop": loops["uvloop"]} if item.get_closest_marker("one_loop") else loops


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Try asyncio's own loop only with all others: what runs in production is uvloop."""
    for item in items:
        case = getattr(item, "callspec", None)
        if case is not None and "asyncio" in case.id.split("-"):
            item.add_marker(pytest.mark.nightly)


# The modules of all tests stay: to look through them for garbage again and again would take a third
# of a test process's CPU time.
gc.disable()


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """No test sees the settings or the database of whoever runs it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in (
            "DBOS_SYSTEM_DATABASE_URL",
            "AEXP_DATABASE_URL",
            "AEXP_HOME",
            "AEXP_API_TOKEN",
            "DBOS__VMID",
            # In continuous integration pytest tells some things twice.
            "CI",
            "BUILD_NUMBER",
            *(name for name in os.environ if name.startswith("OTEL_")),
        ):
            monkeypatch.delenv(name, raising=False)
        # At the default a process spends a fifth of its CPU time on looking at queues, the more the
        # slower the machine is.
        monkeypatch.setenv("AEXP_POLL_INTERVAL_S", "0.25")
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_process_of_explorations_is_left() -> Iterator[None]:
    with explorations_ended():
        yield


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the folder of whoever runs it."""
    monkeypatch.chdir(tmp_path)


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder for an embedded server, which is stopped at the end.

    Not among pytest's, through which the user of root's server may not pass.
    """
    folder = Path(tempfile.mkdtemp(prefix="aexp-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        embedded.stop(folder / ".aexp")
        remove_socket_folders(folder)
        shutil.rmtree(folder)


@contextmanager
def migrated_server() -> Iterator[DatabaseUrl]:
    """An embedded server with a migrated template, with the settings that users have."""
    with server_folder() as folder:
        url = embedded.start(folder / ".aexp").with_name(TEMPLATE)
        assert anyio.run(partial(ensure_schema, url, create=True))
        yield url


@pytest.fixture(scope="session")
def server() -> Iterator[DatabaseUrl]:
    """An embedded server with a migrated template, whose databases are quickly made."""
    with migrated_server() as url:
        with psycopg.connect(url.with_name("postgres").libpq, autocommit=True) as connection:
            # They keep what is committed should the machine fail, which no test makes it do. With
            # them a database takes five times the CPU time to make and drop, and its disk's time.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("ALTER SYSTEM SET full_page_writes = off")
            connection.execute("SELECT pg_reload_conf()")
        yield url


@contextmanager
def scratch(server: DatabaseUrl, template: str) -> Iterator[DatabaseUrl]:
    """A copy of ``template`` that is dropped at the end, whoever is still connected to it."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(server.with_name("postgres").libpq, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        yield server.with_name(name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(server: DatabaseUrl) -> Iterator[DatabaseUrl]:
    """A migrated database of this test alone."""
    with scratch(server, TEMPLATE) as url:
        yield url


@pytest.fixture
def empty_database(server: DatabaseUrl) -> Iterator[DatabaseUrl]:
    """A database that nothing has migrated."""
    with scratch(server, "template0") as url:
        yield url


@pytest_asyncio.fixture
async def connection(database: DatabaseUrl) -> AsyncIterator[Connection]:
    """A connection to the test's database."""
    connection = await connect(database)
    yield connection
    await connection.close()


@pytest.fixture
def cli(database: DatabaseUrl, tmp_path: Path) -> Iterator[Cli]:
    """``python -m aexp`` as a process, on the test's database, in the test's folder."""
    with Cli(folder=tmp_path, url=database) as cli:
        yield cli


@pytest.fixture
def served(cli: Cli) -> Iterator[Served]:
    """``aexp serve`` as a process of this test alone, on the test's database."""
    with serving(cli) as served:
        yield served


@pytest.fixture(scope="module")
def shared(server: DatabaseUrl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """``aexp serve`` for the tests of a module that look at runs of their own alone."""
    folder = tmp_path_factory.mktemp("shared")
    with (
        scratch(server, TEMPLATE) as url,
        Cli(folder=folder, url=url) as cli,
        serving(cli) as served,
    ):
        yield served


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """What this test logs; its changes to logging are undone."""
    with logging_as_before():
        yield Lines(capsys)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Pytest's own are too long for the name of a socket."""
    with tempfile.TemporaryDirectory() as name:
        # The user of root's server passes through.
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def foreign() -> Iterator[Endpoint]:
    """A token endpoint that is not ours."""
    with endpoint() as served:
        yield served
