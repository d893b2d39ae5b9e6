"""``aexp bench``: its cells are real processes on real databases."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from aexp.bench.analysis.record import read_result
from aexp.bench.measure.cell import CellJob
from aexp.bench.measure.cells import open_cells
from aexp.bench.rounds import Plan
from aexp.bench.workload import Comparison, Variant, Workload
from aexp.bench.workloads.lookup import find_workload, known_workloads
from aexp.database import DatabaseUrl
from aexp.processes.child import ForkServer
from tests.conftest import migrated_server
from tests.support import bench_workloads
from tests.support.cli import Cli, children_running, eventually, wait_until

pytestmark = pytest.mark.nightly


TINY, BAD, STUCK, SLOW = (
    f"{Path(bench_workloads.__file__)}:{name}" for name in ("TINY", "BAD", "STUCK", "SLOW")
)

HANGING = "import time; time.sleep(600)"


@pytest.fixture(scope="module")
def server() -> Iterator[DatabaseUrl]:
    """One that loses no commits: a bench takes no other."""
    with migrated_server() as url:
        yield url


def bench_databases(cli: Cli) -> list[str]:
    rows = cli.query("SELECT datname FROM pg_database WHERE starts_with(datname, 'aexp_bench_')")
    return [name for (name,) in rows]


def begin_stuck(cli: Cli, *also: str) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A bench in the midst of a cell that never ends, and the processes that it has started."""
    bench = cli.start("bench", STUCK, *also)
    wait_until(lambda: bool(children_running(bench.pid, HANGING)))
    return bench, psutil.Process(bench.pid).children(recursive=True)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(
        process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes
    )


def test_a_quick_bench_from_end_to_end(cli: Cli) -> None:
    result = cli(
        *("bench", TINY, "--quick", "--rounds", "5", "--seed", "5", "--executor-id", "mine"),
        *("--json", "b.json", "--report", "b.html"),
    )

    assert result.code == 0, result.stderr
    assert "rows a second" in result.stdout
    assert "async / sync: rate" in result.stdout
    assert "made with --quick: small sizes, few rounds" in result.stdout
    assert "sync: cpu ms: it takes some" in result.stdout
    assert "<svg" in (cli.folder / "b.html").read_text()
    document = json.loads((cli.folder / "b.json").read_text())
    assert document["rounds"] == {"asked": 5, "done": 5}
    assert (document["seed"], document["quick"], document["failed_cells"]) == (5, True, 0)
    assert document["postgresql"]["fsync"] == document["postgresql"]["synchronous_commit"] == "on"
    assert document["machine"]["cores"] >= 1
    # The executor's name is that of the cells, and the loop each variant's own.
    assert document["settings"]["executor_id"] == "local"
    assert "loop" not in document["settings"]
    assert document["versions"]["dbos"].startswith("3.4")

    cells = document["cells"]
    # What is not for --quick is left out, and sizes are those of --quick.
    assert Counter((cell["variant"], cell["units"]) for cell in cells) == {
        ("sync", 10): 5,
        ("async", 20): 5,
    }
    for cell in cells:
        assert cell["figures"]["rate"] == pytest.approx(cell["units"] / cell["figures"]["wall_s"])
        assert cell["figures"]["memory_mib"] > 10
        assert cell["figures"]["threads"] >= 1
        has_loop = cell["variant"] == "async"
        assert (cell["measured"]["lag_ms"] is not None) is has_loop

    (workload,) = document["workloads"]
    async_to_sync, threads, cpu = workload["comparisons"]
    assert async_to_sync["found"]["rounds"] == 5
    assert async_to_sync["verdict"] is None
    # A target that is missed is told, and is no failure.
    assert (threads["verdict"], cpu["verdict"]) == ("met", "missed")
    assert workload["variants"][0]["point"] == {"series": "sync", "x": 1}
    assert bench_databases(cli) == []


def test_a_cell_whose_check_fails_is_no_result(cli: Cli) -> None:
    result = cli("bench", BAD, "--quick", "--rounds", "1", "--json", "-")

    assert result.code == 1
    document = result.json
    why = {cell["variant"]: cell["failure"] for cell in document["cells"]}
    assert why["good"] is None
    assert why["doubles"] == "its check found: 10 rows doubled"
    told_of = "row 0 is wrong; row 1 is wrong; row 2 is wrong; and 2 more like these"
    assert why["errs"] == f"its check found: {told_of}"
    assert "RuntimeError: it has a fault" in why["crashes"]
    assert "it must enter cell.measured()" in why["unmeasured"]
    (workload,) = document["workloads"]
    assert [variant["name"] for variant in workload["variants"]] == ["good"]
    assert workload["comparisons"][0]["found"] is None
    assert workload["comparisons"][0]["verdict"] == "undecided"
    assert bench_databases(cli) == []


def test_a_cell_that_does_not_end_is_killed(cli: Cli) -> None:
    bench = cli.start("bench", SLOW, "--rounds", "1")
    wait_until(lambda: bool(children_running(bench.pid, "aexp.processes.forkserver")))
    started = psutil.Process(bench.pid).children(recursive=True)
    result = cli.wait(bench)
    assert result.code == 1
    assert "it was killed after 3 s" in result.stdout
    assert gone(started)


def test_a_signal_leaves_no_process_and_no_database(cli: Cli) -> None:
    bench, started = begin_stuck(cli)
    bench.send_signal(signal.SIGINT)
    result = cli.wait(bench)
    assert (result.code, result.error, result.stdout) == (130, "interrupted", "")
    assert gone(started)
    assert bench_databases(cli) == []


@pytest.mark.parametrize("pause_s", [0.0, 0.005])
def test_impatience_leaves_no_process_and_no_database(cli: Cli, pause_s: float) -> None:
    bench, started = begin_stuck(cli)

    def has_ended() -> bool:
        bench.send_signal(signal.SIGINT)
        return bench.poll() is not None

    wait_until(has_ended, poll_s=pause_s)
    result = cli.wait(bench)
    assert (result.code, result.error, result.stdout) == (130, "interrupted", "")
    assert gone(started)
    assert bench_databases(cli) == []


def stuck_is_last(seed: int) -> bool:
    workloads = [find_workload(target) for target in (STUCK, TINY)]
    plan = Plan(workloads=workloads, rounds=1, seed=seed, quick=True)
    return plan.tasks(1)[-1].workload.name == "stuck"


def test_what_was_measured_before_a_signal_is_told(cli: Cli) -> None:
    # With this seed the cell that never ends is the last one of the round.
    seed = next(seed for seed in range(100) if stuck_is_last(seed))
    bench, started = begin_stuck(cli, TINY, "--quick", "--seed", str(seed), "--json", "b.json")
    bench.send_signal(signal.SIGTERM)
    result = cli.wait(bench)
    assert (result.code, result.error) == (130, "interrupted")
    assert "0 whole rounds of 5: interrupted" in result.stdout
    document = json.loads((cli.folder / "b.json").read_text())
    assert (document["failure"], document["rounds"]["done"]) == ("interrupted", 0)
    assert read_result(document).as_json() == document
    assert Counter(cell["variant"] for cell in document["cells"]) == {"sync": 1, "async": 1}
    assert gone(started)
    assert bench_databases(cli) == []


def test_a_killed_bench_leaves_no_process_and_the_next_one_drops_its_databases(cli: Cli) -> None:
    living, _ = begin_stuck(cli)
    of_the_living = set(bench_databases(cli))
    killed, started = begin_stuck(cli)
    killed.kill()
    killed.wait()
    wait_until(lambda: gone(started))
    assert set(bench_databases(cli)) > of_the_living

    result = cli("bench", TINY, "--quick", "--rounds", "1")

    assert result.code == 0, result.stderr
    assert "[one round]" in result.stdout
    assert set(bench_databases(cli)) == of_the_living
    living.send_signal(signal.SIGTERM)
    assert cli.wait(living).code == 130


def test_when_somebody_kills_the_process_that_cells_come_from_the_bench_says_so(cli: Cli) -> None:
    bench, started = begin_stuck(cli)
    (server,) = children_running(bench.pid, "aexp.processes.forkserver")[:1]
    server.kill()
    result = cli.wait(bench)
    assert result.code == 1
    assert result.error.startswith(f"worker process {server.pid} was killed by signal 9")
    assert gone(started)
    assert bench_databases(cli) == []


@pytest.mark.asyncio
async def test_a_cell_of_which_nothing_was_heard_yet_ends_with_its_server(
    database: DatabaseUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hear_nothing(self: ForkServer) -> None:
        self._ready.set()
        await anyio.sleep_forever()

    monkeypatch.setattr(ForkServer, "listen", hear_nothing)
    job = CellJob(
        target=STUCK, variant="only", size={}, database_url=database.libpq, server_pid=None
    )
    async with open_cells(relay=False) as cells, anyio.create_task_group() as group:
        process = cells.server.process
        group.start_soon(cells.measure, job, 60.0)
        await eventually(lambda: bool(children_running(process.pid, HANGING)))
        started = psutil.Process(process.pid).children(recursive=True)
        group.cancel_scope.cancel()

    assert gone(started)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--rounds", "0"], "0 is not in the range 1<=x<=1000"),
        (["no-such"], "unknown workload 'no-such'"),
        (["no-such.py:TINY"], "no file"),
        ([f"{Path(bench_workloads.__file__)}:insert"], "is no aexp.bench.workload.Workload"),
        ([TINY, "--json", "none/b.json"], "/none: make it"),
        ([TINY, "--json", "-", "--report", "-"], "cannot both go to stdout"),
    ],
)
def test_bad_input_is_one_clear_line(cli: Cli, arguments: list[str], reason: str) -> None:
    result = cli("bench", *arguments)
    assert result.code == 2
    assert reason in result.error
    assert bench_databases(cli) == []


def test_a_server_that_may_lose_commits_is_refused(cli: Cli) -> None:
    assert cli.url is not None
    options = "&options=-c%20synchronous_commit%3Doff"
    result = cli("bench", TINY, "--quick", "--database-url", cli.url.libpq + options)
    assert result.code == 3
    assert "synchronous_commit is off on this server" in result.error
    assert bench_databases(cli) == []


def test_the_order_of_cells_follows_from_the_seed_and_the_round() -> None:
    def order(seed: int, round_no: int) -> list[str]:
        plan = Plan(
            workloads=[("t", bench_workloads.TINY), ("b", bench_workloads.BAD)],
            rounds=5,
            seed=seed,
            quick=False,
        )
        return [f"{task.workload.name} {task.variant.name}" for task in plan.tasks(round_no)]

    assert order(1, 1) == order(1, 1)
    assert len({tuple(order(seed, number)) for seed in (1, 2) for number in (1, 2, 3)}) > 3
    assert sorted(order(1, 1)) == sorted(order(2, 2))


def test_a_workload_that_compares_what_it_has_not_is_refused() -> None:
    def workload(*, variants: list[Variant], comparisons: list[Comparison]) -> Any:
        return Workload(
            name="w",
            summary="",
            unit="row",
            variants=variants,
            comparisons=comparisons,
            size={},
            quick_size={},
        )

    one = Variant(name="one", run=bench_workloads.insert, loop=None)
    with pytest.raises(ValueError, match="no variant 'two'"):
        workload(
            variants=[one],
            comparisons=[Comparison(figure="rate", variant="one", against="two")],
        )
    with pytest.raises(ValueError, match="two variants of one name"):
        workload(variants=[one, one], comparisons=[])
    with pytest.raises(ValueError, match="to another variant"):
        Comparison(figure="rate", variant="one", difference=True)


@pytest.mark.parametrize("name", known_workloads())
def test_workloads_that_come_along_can_be_found(name: str) -> None:
    target, workload = find_workload(name)
    assert target == workload.name == name


def test_without_matplotlib_a_report_is_refused_before_anything_is_measured(cli: Cli) -> None:
    (cli.folder / "sitecustomize.py").write_text("import sys; sys.modules['matplotlib'] = None\n")
    cli.environment = {"PYTHONPATH": str(cli.folder)}
    result = cli("bench", TINY, "--report", "b.html")
    assert result.code == 2
    assert "install 'aexp[bench]'" in result.error
