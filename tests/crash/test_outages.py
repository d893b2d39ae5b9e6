"""``aexp crash --postgres``: the server stops at a write, and is started again."""

from __future__ import annotations

import signal
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from aexp.crash.experiment.private_server import open_private_server
from aexp.crash.judge.points import Side
from aexp.database import DatabaseUrl
from aexp.errors import EmbeddedServerError
from aexp.processes.loop import run_on_loop
from tests.conftest import TEMPLATE
from tests.support.cli import Cli, children_running, wait_until
from tests.support.explorations import PLANTED, explore, promises

pytestmark = pytest.mark.nightly


STEP = "insert dbos.operation_outputs [~:1]#1"


def servers_of(pid: int) -> list[psutil.Process]:
    """The private servers of an explorer."""
    keepers = children_running(pid, "aexp.crash.experiment.server_process")
    found = []
    for keeper in keepers:
        # A keeper may end in this moment, and what it starts for a moment only.
        with suppress(psutil.NoSuchProcess):
            found += [child for child in keeper.children() if is_server(child)]
    return found


def is_server(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.name() == "postgres"
    return False


def has_children(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.children())
    return False


def test_what_a_server_loses_that_crashes_is_found_and_nothing_else(server: DatabaseUrl) -> None:
    found = explore(
        server, f"{PLANTED}/unlogged.py:SCENARIO", sides=[Side.AFTER], points=1, postgres=2, seed=3
    )  # fmt: skip
    assert found.possible == 3 * found.writes
    _killed, unshipped, shipped = found.results
    assert unshipped.name == "postgres-before:insert shipments#1"
    assert shipped.name == f"postgres-after:{STEP}"
    # Before the effect nothing can be lost; after its checkpoint nobody makes it again.
    assert unshipped.held
    assert shipped.void is None
    assert promises(shipped) == {"shipped_once", "same_rows"}
    judged = [{v.name: v.held for v in result.verdicts}["survived"] for result in found.results]
    assert judged == [None, True, True]


def test_a_killed_explorer_leaves_no_server(cli: Cli, short_folder: Path) -> None:
    cli.environment = {"TMPDIR": str(short_folder)}
    process = cli.start(
        "crash", f"{PLANTED}/bugs.py:sound", "--template", TEMPLATE,
        "--replay", f"postgres-after:{STEP}",
    )  # fmt: skip
    # One that is up has children of its own.
    wait_until(lambda: any(map(has_children, servers_of(process.pid))))
    left = servers_of(process.pid)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert len(left) == 1
    wait_until(lambda: not any(map(is_server, left)))
    wait_until(lambda: not any(short_folder.iterdir()))
    assert not is_server(left[0])


def test_a_killed_keeper_leaves_no_server(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(short_folder))
    left: list[psutil.Process] = []

    async def lose_the_keeper() -> None:
        async with open_private_server() as private:
            left.extend(servers_of(psutil.Process().pid))
            (keeper,) = children_running(
                psutil.Process().pid, "aexp.crash.experiment.server_process"
            )
            keeper.send_signal(signal.SIGKILL)
            await private.stop()

    with pytest.raises(EmbeddedServerError, match="has ended on its own"):
        run_on_loop("uvloop", lose_the_keeper)
    assert len(left) == 1
    wait_until(lambda: not any(map(is_server, left)))
    assert not any(short_folder.iterdir())
