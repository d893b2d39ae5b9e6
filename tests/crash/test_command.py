"""``aexp crash`` as a command: a run killed at its writes, what it tells, and what it leaves."""

from __future__ import annotations

import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from aexp.crash.judge.points import Side, parse_point
from aexp.database import DatabaseUrl
from aexp.errors import WorkerFailed, first_of_ours
from tests.conftest import TEMPLATE
from tests.support.cli import Cli, children_running, wait_until
from tests.support.explorations import PLANTED, explore, promises, struck

BUGS = f"{PLANTED}/bugs.py"
DOUBLED = f"{PLANTED}/doubled_effect.py:SCENARIO"
STEP = "insert dbos.operation_outputs [~:1]#1"
END_ITS_SESSIONS = (
    "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity"
    " WHERE application_name = 'aexp_crash'"
)


def databases(url: DatabaseUrl) -> set[str]:
    """The databases of explorations on the server of ``url``."""
    with psycopg.connect(url.with_name("postgres").libpq, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE 'aexp_crash_%'"
        )
        return {name for (name,) in rows}


@pytest.mark.nightly
def test_a_sound_workflow_holds_at_every_write_on_every_side(server: DatabaseUrl) -> None:
    found = explore(server, f"{BUGS}:sound")
    told = found.as_json()
    assert (told["coverage"], told["broken"], told["void"]) == (1.0, [], 0)
    assert told["planned"] == told["verified"] == 3 * told["writes"] == len(told["points"])
    assert {point["side"] for point in told["points"]} == {"before", "after", "lost-ack"}
    assert all(point["held"] and point["recovery_s"] > 0 for point in told["points"])
    assert found.ok


@pytest.mark.nightly
def test_each_delivery_of_resume_keeps_what_it_promises(server: DatabaseUrl) -> None:
    point = "before:insert dbos.operation_outputs [~.2.0:1]#1"
    duplicates = {}
    for delivery in ("exactly-once", "idempotent", "at-least-once"):
        found = explore(
            server, "resume", {"messages": "1", "latency_s": "0", "delivery": delivery},
            replay=parse_point(point),
        )  # fmt: skip
        assert found.ok, [result.broken for result in found.results]
        duplicates[delivery] = found.results[0].duplicates
    assert duplicates == {"exactly-once": 0, "idempotent": 0, "at-least-once": 1}


@pytest.mark.parametrize(
    ("target", "given", "point"),
    [
        ("fibonacci", {"numbers": "2"}, "after:insert dbos.operation_outputs [~.1.0:1]#1"),
        ("heartbeat", {"ticks": "1", "every_s": "1"}, "after:insert dbos.workflow_schedules#1"),
    ],
)
def test_what_differs_from_run_to_run_is_not_compared(
    server: DatabaseUrl, target: str, given: dict[str, str], point: str
) -> None:
    result = struck(server, target, point, given)
    assert result.void is None
    assert promises(result) == set()
    # How late the loop was is a matter of the machine, which an exploration uses as it can.
    left_open = [
        verdict.name for verdict in result.verdicts if "the machine" in str(verdict.reason)
    ]
    assert left_open == (["loop_free"] if target == "fibonacci" else [])


@pytest.mark.parametrize("delivery", ["idempotent", "at-least-once"])
def test_a_publication_whose_acknowledgement_is_lost_is_counted(
    server: DatabaseUrl, delivery: str
) -> None:
    found = explore(
        server, "resume", {"messages": "1", "latency_s": "0", "delivery": delivery},
        replay=parse_point("lost-ack:insert aexp.publications#1"),
    )  # fmt: skip
    assert found.ok, [result.broken for result in found.results]


def test_a_second_kill_during_the_recovery_changes_nothing(server: DatabaseUrl) -> None:
    found = explore(server, f"{BUGS}:sound", sides=[Side.BEFORE, Side.AFTER], points=1, double=2)
    single, *pairs = found.results
    assert len(pairs) == 2
    assert all(str(pair.name).startswith(f"{single.name} then ") for pair in pairs)
    assert found.ok, [result.broken for result in found.results]


def test_what_a_wrong_process_leaves_is_stranded_and_told(server: DatabaseUrl) -> None:
    found = explore(
        server, "resume", {"messages": "1", "latency_s": "0"}, sides=[Side.AFTER], points=1,
        stranded=True, jobs=4,
    )  # fmt: skip
    told = {
        str(result.point.restart): set(result.stranded.causes)
        for result in found.results
        if result.point is not None and result.stranded is not None
    }
    assert told == {
        "other-version": {"other-version"},
        "other-executor": {"other-executor"},
        "no-instance": {"no-instance"},
    }
    assert found.ok, [result.broken for result in found.results]


def test_a_point_that_is_never_reached_is_void_and_no_pass(server: DatabaseUrl) -> None:
    # The second fault is one of a recovery, of which nobody knows what it writes.
    point = parse_point(f"after:{STEP} then after:insert no.table#1")
    found = explore(server, f"{BUGS}:sound", replay=point)
    (result,) = found.results
    assert result.held is None
    assert result.attempts == 3
    assert "was not reached" in (result.void or "")
    assert (found.coverage, found.ok) == (0.0, False)


def test_a_point_that_the_run_does_not_have_is_refused(cli: Cli) -> None:
    target = (f"{BUGS}:sound", "--template", TEMPLATE)
    done = cli("crash", *target, "--replay", "after:insert dbos.operation_outputs [~:7]#1")
    assert done.code == 2
    assert "the run has no write 'insert dbos.operation_outputs [~:7]#1'" in done.error
    assert "is the nearest" in done.error


def test_the_command_tells_what_broke_and_how_to_see_it_again(cli: Cli, tmp_path: Path) -> None:
    page = tmp_path / "found.html"
    done = cli(
        "crash", DOUBLED, "--replay", f"before:{STEP}", "--report", str(page),
        "--template", TEMPLATE, "--deadline", "45", "--loop", "asyncio", "--executor-id", "other",
    )  # fmt: skip
    assert done.code == 1, done.stderr
    # In one line, whatever the width of the terminal.
    again = [
        *("aexp", "crash", DOUBLED, "--template", TEMPLATE, "--deadline", "45"),
        *("--executor-id", "other", "--loop", "asyncio", "--replay", f"before:{STEP}"),
    ]
    assert shlex.join(again) in done.stdout
    assert "shipped_once: each item is shipped exactly once" in done.stdout
    assert "not shipped exactly once" in done.stdout
    text = page.read_text()
    assert "data-verdict" in text
    assert "not shipped exactly once" in text


def test_the_command_tells_the_same_as_json(cli: Cli) -> None:
    done = cli("crash", f"{BUGS}:sound", "--points", "2", "--template", TEMPLATE, "--json")
    assert done.code == 0, done.stderr
    told = done.json
    assert (told["scenario"], told["planned"], told["verified"]) == ("sound", 2, 2)
    assert told["possible"] == 3 * told["writes"]
    assert told["seconds_per_point"] > 0
    assert [sorted(point) for point in told["points"]] == [
        ["duplicates", "held", "point", "recovery_s", "side"]
    ] * 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["resume", "--sides", "below"], "'below' is none of before, after, lost-ack"),
        (["resume", "--points", "few"], "'few' is neither a number"),
        (["resume", "--replay", "after"], "'after' is no point"),
        (["resume", "--replay", f"after:{STEP}", "--points", "3"], "--points would choose others"),
        (
            ["resume", "--replay", f"after:{STEP}", "--double", "1", "--sides", "after"],
            "--sides, --double would choose others",
        ),
        (["resume", "--replay", f"after:{STEP}", "--stranded"], "--stranded would choose"),
        (["resume", "--replay", f"postgres-after:{STEP}", "--postgres"], "--postgres would choose"),
        (["resume", "--sides", "postgres-after"], "'postgres-after' is none of before, after,"),
        (["resume", "--zombie", "few"], "'few' is neither a number"),
        (["resume", "--replay", f"after:{STEP}", "--zombie", "1"], "--zombie would choose"),
        (["resume", "--double", "all", "--sides", "lost-ack"], "--double kills a second time"),
        (["nothing"], "unknown scenario 'nothing'"),
        (["resume", "--set", "colour=red"], "unknown parameter 'colour'"),
        (["resume", "--report", "no/such/page.html"], "there is no folder"),
    ],
)
def test_bad_input_is_told_in_a_line(cli: Cli, arguments: list[str], reason: str) -> None:
    done = cli("crash", *arguments)
    assert done.code == 2
    assert reason in done.error


def test_a_worker_that_ends_on_its_own_is_told_with_its_own_words(cli: Cli) -> None:
    done = cli("crash", f"{BUGS}:crashing", "--template", TEMPLATE)
    assert done.code == 1
    assert "exited with 7" in done.error


def test_a_workflow_that_never_ends_is_refused(cli: Cli) -> None:
    done = cli("crash", f"{BUGS}:endless", "--deadline", "2", "--template", TEMPLATE)
    assert done.code == 1
    assert "without any fault the run did not end" in done.stdout
    assert cli.url is not None
    assert databases(cli.url) == set()


def test_a_workflow_that_ends_its_process_is_told_as_such(server: DatabaseUrl) -> None:
    flows = PLANTED.parent / "flows.py"
    with pytest.raises(ExceptionGroup) as failed:
        explore(server, f"{flows}:exiting")
    told = first_of_ours(failed.value)
    assert isinstance(told, WorkerFailed)
    assert str(told).endswith("the workflow or its module ended the process: SystemExit(3)")


def test_a_run_that_has_ended_in_the_template_is_another_one(cli: Cli) -> None:
    assert cli("run", f"{BUGS}:sound", "--run-id", "crash").code == 0
    assert cli.url is not None
    done = cli(
        "crash", f"{BUGS}:sound", "--template", cli.url.name, "--points", "1", "--sides", "before",
    )  # fmt: skip
    assert done.code == 0, done.stderr


def test_a_workflow_that_goes_round_the_proxy_is_refused(cli: Cli) -> None:
    assert cli.url is not None
    cli.environment = {"DETOUR": cli.url.libpq}
    detour = ["crash", f"{PLANTED}/detour.py:detour", "--template", TEMPLATE]
    done = cli(*detour)
    assert done.code == 2
    assert "reaches another PostgreSQL than its experiment's" in done.error
    done = cli(*detour, "--allow-outside")
    assert done.code == 1
    assert "made no connection to the database that it was told to use" in done.error


def exploring(cli: Cli) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """An exploration whose first worker is at work, for ever, and this worker."""
    process = cli.start("crash", f"{BUGS}:endless", "--template", TEMPLATE, "--deadline", "100")
    found: list[psutil.Process] = []

    def begun() -> bool:
        found[:] = workers(process)
        return len(found) > 0

    wait_until(begun)
    return process, found


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The workers: what the processes that fork have forked."""
    found = []
    for forks in children_running(process.pid, "aexp.processes.forkserver"):
        # What is about to run something else looks like its parent, and may have ended since.
        with suppress(psutil.NoSuchProcess):
            found += forks.children()
    return found


def test_an_interrupt_leaves_no_process_and_no_database(cli: Cli) -> None:
    process, left = exploring(cli)
    process.send_signal(signal.SIGINT)
    assert cli.wait(process).code == 130
    assert cli.url is not None
    assert databases(cli.url) == set()
    wait_until(lambda: not any(worker.is_running() for worker in left))


def test_a_worker_whose_parent_is_killed_is_no_verdict_and_no_hang(cli: Cli) -> None:
    process, left = exploring(cli)
    (parent,) = {worker.parent() for worker in left}
    assert parent is not None
    parent.kill()
    done = cli.wait(process)
    assert done.code == 1
    assert "the process that starts workers has ended on its own" in done.error
    wait_until(lambda: not any(worker.is_running() for worker in left))
    assert cli.url is not None
    assert databases(cli.url) == set()


@pytest.fixture
def common_user(server: DatabaseUrl) -> Iterator[DatabaseUrl]:
    """Somebody who may make databases, and no more."""
    with psycopg.connect(server.with_name("postgres").libpq, autocommit=True) as connection:
        connection.execute("CREATE ROLE common LOGIN CREATEDB")
        yield DatabaseUrl(server.parsed.set(username="common"))
        connection.execute("DROP ROLE common")


def is_past_the_first_point(url: DatabaseUrl) -> bool:
    """Whether the first point has been decided: three databases are the baseline's."""
    return any(name.endswith("_5") for name in databases(url))


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        ("ALTER ROLE common NOCREATEDB", "permission denied to create database"),
        (END_ITS_SESSIONS, "refuses"),
    ],
    ids=["no privilege", "no connection"],
)
def test_a_server_that_refuses_to_go_on_loses_nothing_that_was_found(
    server: DatabaseUrl, common_user: DatabaseUrl, tmp_path: Path, refusal: str, reason: str
) -> None:
    with Cli(tmp_path, common_user) as cli:
        process = cli.start("crash", f"{BUGS}:sound", "--jobs", "1", "--json")
        wait_until(lambda: is_past_the_first_point(server))
        with psycopg.connect(server.libpq, autocommit=True) as connection:
            connection.execute(refusal.encode())
        done = cli.wait(process)
        assert done.code == 3, done.stderr
        assert reason in done.error
        told = done.json
        assert 0 < told["verified"] == len(told["points"]) < told["planned"]
        assert told["failure"] == done.error
        # What is left is dropped by the next one.
        with psycopg.connect(server.libpq, autocommit=True) as connection:
            connection.execute("ALTER ROLE common CREATEDB")
        assert "exited with 7" in cli("crash", f"{BUGS}:crashing").error
        assert databases(server) == set()


def test_what_a_killed_explorer_leaves_is_removed(cli: Cli, short_folder: Path) -> None:
    cli.environment = {"TMPDIR": str(short_folder)}
    process, left = exploring(cli)
    process.kill()
    process.wait()
    wait_until(lambda: not any(worker.is_running() for worker in left))
    wait_until(lambda: not any(short_folder.iterdir()))
    assert cli.url is not None
    assert databases(cli.url)
    done = cli("crash", f"{BUGS}:crashing", "--template", TEMPLATE)
    assert "exited with 7" in done.error
    assert databases(cli.url) == set()
