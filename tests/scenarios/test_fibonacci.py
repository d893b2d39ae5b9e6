"""The scenario ``fibonacci``: work for a processor, and a loop that is free or is not."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import psutil
import pytest

from aexp.durable.offload import available_cores
from aexp.model.promise import judge
from aexp.scenarios.fibonacci.numbers import fibonacci
from aexp.scenarios.fibonacci.promises import MOST_LAG_P99_MS, PROMISES, FibonacciEvidence, account
from tests.support.cli import Cli, broken, children_running, held, wait_until


def assert_kept(report: dict[str, Any]) -> None:
    """Every promise is kept, but for what only a machine with time to spare can keep: there the
    verdict has to be that of the figure."""
    lag_ms = report["account"]["loop_lag_ms"]
    assert lag_ms["ticks"] > 0
    assert held(report)["loop_free"] is (lag_ms["p99"] < MOST_LAG_P99_MS)
    assert [name for name, kept in held(report).items() if not kept] in ([], ["loop_free"])


def test_computes_fifty_numbers_in_a_process_for_each_core(cli: Cli) -> None:
    result = cli("run", "fibonacci", "--json")

    report = result.json
    assert [(step["index"], step["number"], step["value"]) for step in report["result"]] == [
        (index, min(index, 24), fibonacci(min(index, 24))) for index in range(1, 51)
    ]
    computing = report["account"]["computing"]
    assert computing["cores"] == computing["workers"] == available_cores()
    assert 1 <= computing["processes_used"] <= available_cores()
    pids = {pid for step in report["result"] for pid in step["pids"]}
    assert report["processes"][0]["pid"] not in pids
    assert report["account"]["results"][-1]["workflows"] == 27
    assert_kept(report)


def test_two_kills_leave_every_result_right_and_no_worker_behind(cli: Cli) -> None:
    result = cli("run", "fibonacci", "--kills", "2", "--seed", "3", "--json")

    report = result.json
    assert report["account"]["kills"]["landed"] == 2
    assert [step["value"] for step in report["result"]] == [
        fibonacci(min(index, 24)) for index in range(1, 51)
    ]
    pids = {pid for step in report["result"] for pid in step["pids"]}
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert_kept(report)


def test_on_the_loop_it_breaks_the_promise_and_says_so(cli: Cli) -> None:
    result = cli(
        "run", "fibonacci", "--set", "offload=none", "--set", "largest=29", "--set", "numbers=36",
        "--json",
    )  # fmt: skip

    report = result.json
    assert result.code == 1
    assert report["status"] == "SUCCESS"
    assert list(broken(report)) == ["loop_free"]
    [anomaly, *_] = broken(report)["loop_free"]
    assert "with offload=none other coroutines had to wait" in anomaly["summary"]
    assert report["account"]["computing"]["processes_used"] == 1


def test_threads_of_this_process_compute_right_too(cli: Cli) -> None:
    report = cli("run", "fibonacci", "--set", "offload=thread", "--json").json

    assert held(report)["results_right"]
    assert {pid for step in report["result"] for pid in step["pids"]} == {
        report["processes"][0]["pid"]
    }


def test_a_large_number_reports_its_progress_and_a_drain_ends_its_workers(cli: Cli) -> None:
    # Fibonacci(60) would take days: what tells of it are the parts that have been added up.
    process = cli.start(
        "run", "fibonacci", "--run-id", "big", "--set", "largest=60", "--set", "numbers=60",
        "--kills", "1", "--seed", "1",
    )  # fmt: skip
    workers: list[psutil.Process] = []

    def computing() -> bool:
        workers[:] = children_running(process.pid, "anyio.to_process")
        return len(workers) == available_cores()

    wait_until(computing)
    process.send_signal(signal.SIGTERM)

    assert cli.wait(process).code == 130
    assert not [worker for worker in workers if worker.is_running()]


GOOD = FibonacciEvidence(
    asked=[1, 2, 3, 3],
    steps=[
        {"index": index, "number": number, "value": value, "cpu_s": 0.1, "wall_s": 0.2, "pids": [7]}
        for index, number, value in [(1, 1, 1), (2, 2, 1), (3, 3, 2), (4, 3, 2)]
    ],
    offload="process",
    lag_ms={"0.5": 990, "49": 10},
    measured_s=2.0,
    cpu_s=3.0,
    cores=2,
    workers=2,
)


def broken_names(evidence: FibonacciEvidence) -> list[str]:
    return [verdict.name for verdict in judge(PROMISES, evidence) if verdict.held is False]


def test_good_evidence_breaks_nothing_and_is_accounted_for() -> None:
    summary = account(GOOD)

    assert [verdict.held for verdict in judge(PROMISES, GOOD)] == [True, True]
    assert summary["computing"]["speed_up"] == 1.5
    assert summary["loop_lag_ms"] == {"p50": 0.5, "p99": 0.5, "max": 49.0, "ticks": 1000}
    assert summary["results"][-1] == {
        "number": 3,
        "value": 2,
        "workflows": 2,
        "cpu_ms": 100.0,
        "step_ms": 200.0,
    }


def wrong(index: int, **values: int) -> FibonacciEvidence:
    assert GOOD.steps is not None
    return replace(
        GOOD,
        steps=[{**step, **values} if step["index"] == index else step for step in GOOD.steps],
    )


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        (wrong(3, value=3), "results_right"),
        (wrong(4, number=2, value=1), "results_right"),
        (replace(GOOD, steps=(GOOD.steps or ())[1:]), "results_right"),
        (replace(GOOD, steps=[]), "results_right"),
        (replace(GOOD, lag_ms={"0.5": 989, "50": 11}), "loop_free"),
        (replace(GOOD, lag_ms={"120": 1}), "loop_free"),
    ],
)
def test_a_planted_violation_is_reported(bad: FibonacciEvidence, name: str) -> None:
    assert broken_names(bad) == [name]


def test_what_nobody_measured_is_not_judged() -> None:
    unknown = replace(GOOD, steps=None, lag_ms={}, measured_s=0.0)

    assert [verdict.held for verdict in judge(PROMISES, unknown)] == [None, None]
    assert account(unknown)["computing"]["speed_up"] is None
