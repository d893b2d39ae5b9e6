"""Processes that are forked from one which has imported everything."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

import aexp
from aexp.processes.child import ForkServerFailed, open_forkserver
from aexp.processes.pipes import read_parts
from tests.support.cli import eventually, wait_until


def warm(*_arguments: str) -> None:
    """Nothing is to be imported."""


def tell(payload: Mapping[str, Any]) -> int:
    """Write down what this process is, and end with the code that is asked for."""
    facts = {"pid": os.getpid(), "group": os.getpgid(0), "of": os.environ["OF"], "hash": hash("x")}
    sys.stdout.write(json.dumps({**facts, **payload}) + "\n")
    sys.stderr.write("and this\n")
    return int(payload["code"])


def fail(_payload: Mapping[str, Any]) -> int:
    """End by an error."""
    raise ValueError("no such luck")


def leave(payload: Mapping[str, Any]) -> int:
    """End the process in the middle, as a module does."""
    sys.exit(payload["code"])


def hang(payload: Mapping[str, Any]) -> int:
    """Start a process, and never end."""
    child = subprocess.Popen(["sleep", "1000"])
    Path(payload["path"]).write_text(f"{child.pid}")
    while True:
        time.sleep(60)


def await_parent(payload: Mapping[str, Any]) -> int:
    """End when nobody is there any more who has started it."""
    os.read(0, 1)
    Path(payload["path"]).write_text("alone")
    return 0


def drain(payload: Mapping[str, Any]) -> int:
    """Start a process, and end in order when nobody is there any more who has started this one."""
    child = subprocess.Popen(["sleep", "1000"])
    path = Path(payload["path"])
    path.write_text(f"{child.pid}")
    os.read(0, 1)
    time.sleep(0.2)
    path.with_suffix(".drained").touch()
    return 0


async def lines(descriptor: int) -> list[bytes]:
    """What is written to the other end, until it is closed."""
    return b"".join([part async for part in read_parts(descriptor)]).splitlines()


def here(name: str) -> str:
    """The function ``name`` of this module."""
    return f"{__name__}:{name}"


@pytest.mark.asyncio
async def test_a_child_is_a_process_of_its_own_with_streams_and_a_code() -> None:
    async with open_forkserver(here("warm"), environment={"OF": "the server"}) as server:
        child = await server.start(
            here("tell"), {"code": 7, "word": "ünd"}, environment={"OF": "the child"}
        )
        assert child.stdout is not None
        assert child.stderr is not None
        (line,) = await lines(child.stdout)
        assert await lines(child.stderr) == [b"and this"]
        assert await child.wait() == 7
        facts = json.loads(line)
        assert facts["pid"] == facts["group"] == child.pid
        assert (facts["of"], facts["word"]) == ("the child", "ünd")
        child.close()
        assert child.stdout is None


@pytest.mark.asyncio
async def test_a_hash_seed_is_of_all_that_a_server_forks() -> None:
    hashes: dict[str, set[int]] = {"1": set(), "2": set()}
    for seed, found in hashes.items():
        environment = {"PYTHONHASHSEED": seed, "OF": ""}
        async with open_forkserver(here("warm"), environment=environment) as server:
            for _ in range(2):
                child = await server.start(here("tell"), {"code": 0})
                assert child.stdout is not None
                found |= {json.loads(line)["hash"] for line in await lines(child.stdout)}
                child.close()
    assert [len(found) for found in hashes.values()] == [1, 1]
    assert hashes["1"] != hashes["2"]


@pytest.mark.asyncio
async def test_how_children_end_is_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with open_forkserver(here("warm")) as server:
        failed = await server.start(here("fail"), {}, log=log)
        left = await server.start(here("leave"), {"code": 3}, log=log)
        worded = await server.start(here("leave"), {"code": "a word"}, log=log)
        killed = await server.start(here("hang"), {"path": str(tmp_path / "pid")}, log=log)
        assert [await child.wait() for child in (failed, left, worded)] == [1, 3, 1]
        killed.kill()
        assert await killed.wait() == -signal.SIGKILL
    assert "ValueError: no such luck" in log.read_text()


@pytest.mark.asyncio
async def test_what_a_child_has_started_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    async with open_forkserver(here("warm")) as server:
        child = await server.start(here("hang"), {"path": str(path)}, log=tmp_path / "log")
        await eventually(lambda: path.exists() and bool(path.read_text()))
        started = psutil.Process(int(path.read_text()))
        child.kill()
        await child.wait()
        _, alive = psutil.wait_procs([started], timeout=30)
    assert not alive


@pytest.mark.asyncio
async def test_nothing_is_left_when_the_context_ends(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    async with open_forkserver(here("warm")) as server:
        child = await server.start(here("hang"), {"path": str(path)}, log=tmp_path / "log")
        await eventually(lambda: path.exists() and bool(path.read_text()))
        started = [psutil.Process(child.pid), psutil.Process(int(path.read_text()))]
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive


@pytest.mark.asyncio
async def test_a_server_that_is_killed_takes_its_children_along(tmp_path: Path) -> None:
    async with open_forkserver(here("warm")) as server:
        child = await server.start(
            here("hang"), {"path": str(tmp_path / "pid")}, log=tmp_path / "log"
        )
        process = psutil.Process(child.pid)
        server.process.kill()
        with pytest.raises(ForkServerFailed):
            await child.wait()
        with pytest.raises(ForkServerFailed):
            await server.start(here("tell"), {"code": 0}, log=tmp_path / "log")
        await eventually(lambda: not process.is_running() or process.status() == "zombie")


@pytest.mark.asyncio
async def test_who_asks_all_to_end_is_heard_by_what_is_forked_alone(tmp_path: Path) -> None:
    async with open_forkserver(here("warm")) as server:
        payload = {"path": str(tmp_path / "pid")}
        first = await server.start(here("hang"), payload, log=tmp_path / "log")
        for number in (signal.SIGINT, signal.SIGTERM):
            server.process.send_signal(number)
        # At whatever instruction it is, the very first included.
        others = [await server.start(here("hang"), payload, log=tmp_path / "log") for _ in range(5)]
        for child in (first, *others):
            child.terminate()
            assert await child.wait() == -signal.SIGTERM


@pytest.mark.asyncio
async def test_many_at_a_time_are_not_mixed_up(tmp_path: Path) -> None:
    codes: dict[int, int] = {}

    async with open_forkserver(here("warm"), environment={"OF": ""}) as server:

        async def one(code: int) -> None:
            # Longer than what one message of a socket holds.
            payload = {"code": code, "long": "x" * 300_000}
            child = await server.start(here("tell"), payload, log=tmp_path / f"{code}")
            codes[code] = await child.wait()

        async with anyio.create_task_group() as group:
            for code in range(20):
                group.start_soon(one, code)
    assert codes == {code: code for code in range(20)}
    for code in codes:
        line = (tmp_path / f"{code}").read_text().splitlines()[0]
        assert json.loads(line)["code"] == code


_PARENT = """
import anyio, sys
import aexp
from aexp.processes.child import open_forkserver
from pathlib import Path

async def main():
    here, folder, written = sys.argv[1:]
    async with open_forkserver(f"{here}:warm", folder=Path(folder)) as server:
        for name in ("hang", "await_parent", "drain"):
            path = str(Path(written) / name)
            child = await server.start(
                f"{here}:{name}", {"path": path}, log=Path(path + ".log"), drains=name == "drain"
            )
            print(child.pid, flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


def test_a_parent_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, __name__, str(folder), str(tmp_path)],
        cwd=Path(aexp.__file__).parent.parent,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    children = [psutil.Process(int(parent.stdout.readline())) for _ in range(3)]
    wait_until((tmp_path / "hang").exists)
    wait_until((tmp_path / "drain").exists)
    started = [*children, *psutil.Process(parent.pid).children(recursive=True)]
    parent.kill()
    parent.communicate()
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive
    assert not folder.exists()
    # It was not killed.
    assert (tmp_path / "drain.drained").exists()
