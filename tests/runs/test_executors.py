"""Several executors on one database: they share a run, die, come back, and are stood in for."""

from __future__ import annotations

import json
import platform
import random
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import psutil
import pytest

from tests.support.cli import TIMEOUT_S, Cli, held, wait_until
from tests.support.service import Served, serving

QUIET = ("--log-level", "error")
# Long enough to kill executors in the middle of it, whatever the machine.
SLOW = ("--set", "messages=80", "--set", "concurrency=1", "--set", "latency_s=0.2")


def executors(cli: Cli) -> dict[str, Mapping[str, Any]]:
    """What ``aexp workers`` says, by executor."""
    found = cli("workers", "--json")
    assert found.code == 0, found.stderr
    return {executor["executor_id"]: executor for executor in found.json}


def await_bodies(cli: Cli, executor: str, run_id: str = "r", least: int = 1) -> None:
    """Return when ``executor`` has begun so many steps of the run."""
    cli.await_row(
        "SELECT 1 FROM aexp.ledger WHERE run_id = %s AND executor_id = %s OFFSET %s LIMIT 1",
        (run_id, executor, least - 1),
    )


def bodies(cli: Cli) -> dict[str, int]:
    """How many step bodies each executor has begun."""
    return dict(cli.query("SELECT executor_id, count(*) FROM aexp.ledger GROUP BY executor_id"))


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL a process and all that it has started, as the end of a container does."""
    if process.poll() is not None:
        return
    alive = psutil.Process(process.pid)
    for each in [alive, *alive.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait(TIMEOUT_S)


def test_two_executors_share_a_run(cli: Cli) -> None:
    first = cli.start("run", "resume", "--run-id", "r", "--executor-id", "a", "--json", *SLOW)
    await_bodies(cli, "a")
    second = cli("resume", "r", "--executor-id", "b", "--json")
    reports = [second.json, cli.wait(first).json]
    assert [(first.returncode, second.code)] == [(0, 0)], second.stderr
    for report in reports:
        judged = held(report)
        # Each has counted what it did itself.
        assert judged.pop("counters_found_again") is None
        # The one that ends first has not read what the other one recorded.
        assert judged.pop("checkpointed_once") in {True, None}
        assert set(judged.values()) == {True}
        assert report["account"]["messages"]["once"] == 80
    shares = bodies(cli)
    assert shares.keys() == {"a", "b"}
    assert min(shares.values()) > 5
    assert cli.query("SELECT name FROM dbos.queues WHERE name LIKE '%%.r'") == []
    audited = cli("audit", "r", "--json").json
    assert {process["ended"] for process in audited["processes"]} == {"completed"}
    assert held(audited)["checkpointed_once"] is True


def test_one_process_of_an_executor_works_on_a_run(cli: Cli) -> None:
    cli.start("run", "resume", "--run-id", "r", "--executor-id", "a", *QUIET, *SLOW)
    await_bodies(cli, "a")
    assert "is already working on run 'r'" in cli("resume", "r", "--executor-id", "a").error


@pytest.mark.nightly
def test_the_dead_ones_work_is_handed_to_the_living(cli: Cli) -> None:
    leader = cli.start("run", "resume", "--run-id", "r", "--executor-id", "a", *QUIET, *SLOW)
    await_bodies(cli, "a")
    follower = cli.start("resume", "r", "--executor-id", "b", "--json", *QUIET)
    await_bodies(cli, "b")
    refused = cli("recover", "a")
    assert refused.code == 2
    assert "executor 'a' is alive and does its work itself" in refused.error
    assert "--executor-id" not in refused.error
    kill(leader)
    found = executors(cli)
    assert (found["a"]["alive"], found["b"]["alive"]) == (False, True)
    # The root workflow at least.
    assert found["a"]["claimed_workflows"] >= 1
    assert found["a"]["runs"] == 1
    assert found["a"]["last_wrote"] is not None
    refused = cli("resume", "r", "--executor-id", "c")
    assert refused.code == 2
    assert "claimed by executor 'a'" in refused.error
    assert "aexp recover a" in refused.error
    recovered = cli("recover", "a", "--json")
    assert recovered.code == 0, recovered.stderr
    assert recovered.json == [
        {"run_id": "r", "workflows": found["a"]["claimed_workflows"], "living": ["b"]}
    ]
    ended = cli.wait(follower)
    assert ended.code == 0, ended.stderr
    assert ended.json["account"]["messages"]["once"] == 80
    assert False not in held(ended.json).values()
    again = cli("recover", "a")
    assert (again.code, again.stdout) == (0, "executor a has claimed nothing\n")


def test_who_is_not_known_is_not_recovered(cli: Cli) -> None:
    refused = cli("recover", "nobody")
    assert refused.code == 2
    assert refused.error == "no executor 'nobody' is known: `aexp workers` lists them"


def test_a_schedule_is_carried_by_one_executor_and_the_other_stands_by(cli: Cli) -> None:
    arguments = ("--set", "ticks=12", "--set", "every_s=1", "--set", "backfill=true")
    leader = cli.start("run", "heartbeat", "--run-id", "r", "--executor-id", "a", *arguments)
    cli.await_row("SELECT 1 FROM aexp.processes")
    follower = cli.start("resume", "r", "--executor-id", "b", "--json", *QUIET)
    cli.await_row("SELECT 1 FROM aexp.processes WHERE executor_id = 'b'")
    kill(leader)
    wait_until(lambda: cli("recover", "a").code == 0)
    ended = cli.wait(follower)
    assert ended.code == 0, ended.stdout + ended.stderr
    assert held(ended.json)["at_most_once"] is True
    assert held(ended.json)["every_tick"] is True


class Crew:
    """Workers beside a service, each of which can be killed and started again under its name."""

    def __init__(self, cli: Cli, names: tuple[str, ...]) -> None:
        self._cli = cli
        self.processes = {name: self._start(name) for name in names}

    def _start(self, name: str) -> subprocess.Popen[str]:
        return self._cli.start("worker", "--executor-id", name, *QUIET)

    def replace(self, name: str) -> None:
        """Kill the worker of this name and start it again."""
        kill(self.processes[name])
        self.processes[name] = self._start(name)


@pytest.fixture
def crew(cli: Cli) -> Iterator[Callable[..., Crew]]:
    crews: list[Crew] = []

    def make(*names: str) -> Crew:
        crews.append(Crew(cli, names))
        return crews[-1]

    yield make
    for made in crews:
        for process in made.processes.values():
            kill(process)


def test_two_workers_of_one_name_would_take_each_others_work(
    cli: Cli, crew: Callable[..., Crew]
) -> None:
    workers = crew("w1")
    cli.await_row("SELECT 1 FROM aexp.executors")
    second = cli("worker", "--executor-id", "w1")
    assert second.code == 2
    assert "executor 'w1' is alive" in second.error
    unnamed = cli.start("worker", *QUIET)
    assert unnamed.stdout is not None
    assert unnamed.stdout.readline() == f"aexp works as {platform.node()[:100]}\n"
    found = executors(cli)
    assert found.keys() == {"w1", platform.node()[:100]}
    assert found["w1"]["serves"] == "worker"
    workers.processes["w1"].terminate()
    assert workers.processes["w1"].wait(TIMEOUT_S) == 0
    assert executors(cli)["w1"]["alive"] is False


def test_a_worker_that_comes_back_recovers_what_it_had(cli: Cli, crew: Callable[..., Crew]) -> None:
    with serving(cli) as served:
        workers = crew("w1")
        # So slow that the kill lands in the midst of a message: the broker has it for that long
        # between the workflow's claim and its step.
        run_id = served.begin("resume", {"messages": 10, "concurrency": 3, "latency_s": 5})
        cli.await_row(
            "SELECT 1 FROM dbos.workflow_status WHERE executor_id = 'w1' AND status = 'PENDING'"
            " AND name = 'resume.publish_chunk'"
        )
        kill(workers.processes["w1"])
        wait_until(lambda: served.run(run_id)["waiting_for"] != [])
        waiting_for = served.run(run_id)["waiting_for"]
        assert [one["executor_id"] for one in waiting_for] == ["w1"]
        assert waiting_for[0]["workflows"] > 0
        workers.replace("w1")
        run = served.await_end(run_id)
        assert run["waiting_for"] == []
        assert run["status"] == "SUCCESS"
        assert run["report"]["account"]["messages"]["once"] == 10
        assert False not in held(run["report"]).values()
        # Both saw it end, and it ended once.
        events = served.cli.query("SELECT count(*) FROM aexp.run_events WHERE event = 'run.ended'")
        assert events == [(1,)]


@pytest.mark.parametrize("publications", [0, 5])
def test_a_cancelled_run_is_left_by_all_executors(
    cli: Cli, crew: Callable[..., Crew], publications: int
) -> None:
    with serving(cli) as served:
        crew("w1")
        cli.await_row("SELECT 1 FROM aexp.executors WHERE executor_id = 'w1'")
        run_id = served.begin("resume", {"messages": 200, "concurrency": 2, "latency_s": 0.2})
        if publications:
            await_bodies(cli, "w1", run_id)
            served.await_publications(publications)
        assert served.client.post(f"/runs/{run_id}/cancel").status_code == 200
        assert {"SUCCESS", "CANCELLED"} >= served.statuses().keys()
        published = cli.query("SELECT count(*) FROM aexp.publications")
        # Executors look for runs to join each second: this one has no more than it had.
        again = served.begin("scope", {"steps": 3, "pause_s": 0.5})
        served.await_end(again)
        assert cli.query("SELECT count(*) FROM aexp.publications") == published
        run = served.run(run_id)
        # DBOS says nothing of a workflow that was never begun.
        assert run["status"] in ({"CANCELLED"} if publications else {"CANCELLED", "NOT STARTED"})
        assert run["waiting_for"] == []


def has_reached(served: Served, run_id: str, done: int) -> bool:
    """Whether the service knows that so much of the run is done."""
    progress = served.run(run_id)["progress"]
    return progress is not None and progress["done"] >= done


@pytest.mark.nightly
def test_three_workers_killed_at_random_lose_and_double_nothing(
    cli: Cli, crew: Callable[..., Crew]
) -> None:
    draw = random.Random(7)
    lasting_s, messages = 8, 200
    # Four executors of two runs each, and some that are dying: the server has 100 places.
    cli.environment = {"AEXP_SYSTEM_POOL_SIZE": "4", "AEXP_DATABASE_POOL_SIZE": "4"}
    with serving(cli) as served:
        names = ("w1", "w2", "w3")
        workers = crew(*names)
        # Each executor publishes ten a second of each run at most.
        parameters = {"messages": messages, "concurrency": 1, "latency_s": 0.1}
        runs = [served.begin("resume", parameters) for _ in range(2)]
        for run_id in runs:
            await_bodies(cli, "local", run_id)
        began_at = time.monotonic()
        for second in range(lasting_s):
            # A kill takes its time, too.
            wait_until(lambda due=began_at + second: time.monotonic() >= due)  # type: ignore[misc]
            workers.replace(draw.choice(names))
        # What all have done is seen while they do it, and not what the service did alone.
        [(published,)] = cli.query(
            "SELECT count(*) FROM aexp.publications WHERE run_id = %s", (runs[0],)
        )
        wait_until(partial(has_reached, served, runs[0], published), poll_s=0.1)
        for run_id in runs:
            served.await_end(run_id)
            wait_until(partial(has_reached, served, run_id, messages), poll_s=0.1)
            run = served.run(run_id, report=True)
            assert cli.query(
                "SELECT max((data->>'done')::int) FROM aexp.run_events WHERE run_id = %s"
                " AND event = 'run.progressed'",
                (run_id,),
            ) == [(messages,)]  # fmt: skip
            report = run["report"]
            assert run["status"] == "SUCCESS"
            assert report["account"]["messages"]["once"] == messages, json.dumps(report["account"])
            assert False not in held(report).values(), report["promises"]
            assert held(report)["no_duplicates"] is True
        assert bodies(cli).keys() == {"local", *names}
