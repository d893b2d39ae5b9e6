"""Work for the processor in worker processes, threads, or on the loop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import psutil
import pytest

from aexp.durable.offload import OffloadMode, WorkerLost, available_cores, open_pool
from aexp.scenarios.fibonacci.numbers import GRAIN, fibonacci, naive, parts, parts_count
from tests.support.cli import eventually, wait_until

pytestmark = pytest.mark.nightly


def signal_handling() -> tuple[bool, int]:
    return signal.getsignal(signal.SIGINT) is signal.SIG_IGN, os.nice(0)


def failing() -> None:
    raise ArithmeticError("no such number")


def ends() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def ends_the_first_time(mark: str) -> str:
    if not Path(mark).exists():
        Path(mark).touch()
        ends()
    return "the second time"


def endless() -> None:
    while True:
        naive(20)


def test_the_recursion_is_the_sequence() -> None:
    assert [naive(number) for number in range(15)] == [fibonacci(n) for n in range(15)]
    assert [fibonacci(number) for number in (0, 1, 10, 50)] == [0, 1, 55, 12586269025]


@pytest.mark.parametrize("number", [0, 1, GRAIN, GRAIN + 1, GRAIN + 2, GRAIN + 9])
def test_the_parts_of_a_number_add_up_to_it(number: int) -> None:
    found = list(parts(number))

    assert sum(fibonacci(part) for part in found) == fibonacci(number)
    assert len(found) == parts_count(number)
    assert max(found) <= GRAIN


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", OffloadMode)
async def test_it_computes_where_it_is_told_to(mode: OffloadMode) -> None:
    async with open_pool(mode, 2) as pool:
        computed = await pool.run(naive, 18)
        thread = await pool.run(threading.get_ident)

    assert computed.value == fibonacci(18)
    assert computed.cpu_s > 0
    assert (computed.pid == os.getpid()) is (mode is not OffloadMode.PROCESS)
    assert (thread.value == threading.get_ident()) is (mode is OffloadMode.NONE)


@pytest.mark.asyncio
async def test_there_are_no_more_workers_than_asked_for() -> None:
    async with open_pool(OffloadMode.PROCESS, 2) as pool, anyio.create_task_group() as group:
        pids = set()

        async def compute() -> None:
            pids.add((await pool.run(naive, 16)).pid)

        for _ in range(12):
            group.start_soon(compute)

    assert len(pids) == 2


@pytest.mark.asyncio
async def test_a_worker_leaves_signals_to_its_parent_and_the_loop_first() -> None:
    async with open_pool(OffloadMode.PROCESS, 1) as pool:
        (ignores_interrupt, niceness) = (await pool.run(signal_handling)).value

    assert ignores_interrupt
    assert niceness > os.nice(0)


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", OffloadMode)
async def test_an_error_is_raised_as_it_was(mode: OffloadMode) -> None:
    async with open_pool(mode, 1) as pool:
        with pytest.raises(ArithmeticError, match="no such number"):
            await pool.run(failing)
        assert (await pool.run(naive, 5)).value == 5


@pytest.mark.asyncio
async def test_what_is_cancelled_computes_no_more_and_the_next_call_does() -> None:
    async with open_pool(OffloadMode.PROCESS, 1) as pool:
        worker = psutil.Process((await pool.run(os.getpid)).value)
        async with anyio.create_task_group() as group:
            group.start_soon(pool.run, endless)
            before = worker.cpu_times().user
            await eventually(lambda: worker.cpu_times().user > before)
            group.cancel_scope.cancel()

        assert not worker.is_running()
        assert (await pool.run(naive, 5)).value == 5


@pytest.mark.asyncio
async def test_a_worker_that_somebody_ends_is_replaced(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    async with open_pool(OffloadMode.PROCESS, 1) as pool:
        computed = await pool.run(ends_the_first_time, str(mark))

    assert mark.exists()
    assert computed.value == "the second time"


@pytest.mark.asyncio
async def test_workers_that_end_again_and_again_are_an_error() -> None:
    async with open_pool(OffloadMode.PROCESS, 1) as pool:
        with pytest.raises(WorkerLost, match="3 worker processes ended"):
            await pool.run(ends)


PARENT = """
import anyio, os
from aexp.durable.offload import OffloadMode, open_pool
from tests.durable.test_offload import endless

async def main():
    async with open_pool(OffloadMode.PROCESS, 1) as pool:
        print((await pool.run(os.getpid)).value, flush=True)
        await pool.run(endless)

if __name__ == "__main__":
    anyio.run(main)
"""


def test_a_worker_ends_with_its_parent_even_in_the_midst_of_a_call(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    # It must not take the place of the standard library's.
    (tmp_path / "random.py").write_text("raise ImportError('from the working folder')")
    with subprocess.Popen(
        [sys.executable, "-P", str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()

    wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def test_there_is_a_core_to_compute_on() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
