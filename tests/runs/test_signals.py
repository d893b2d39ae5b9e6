"""SIGINT and SIGTERM drain; nothing ends in error or cancelled because of them (P12)."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import psutil
import pytest

from tests.support.cli import TIMEOUT_S, Cli, children_running, wait_until

PUBLISHING = "SELECT 1 FROM aexp.publications"
LONG = ("--set", "messages=120", "--set", "concurrency=4", "--set", "latency_s=0.1")


def await_publications(cli: Cli, least: int) -> None:
    wait_until(lambda: cli.query("SELECT count(*) FROM aexp.publications")[0][0] >= least)


def statuses(cli: Cli) -> dict[str, int]:
    return dict(cli.query("SELECT status, count(*) FROM dbos.workflow_status GROUP BY status"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.nightly
def test_a_signal_drains_and_the_run_can_be_resumed(cli: Cli, number: signal.Signals) -> None:
    process = cli.start("run", "resume", "--run-id", "s", *LONG)
    await_publications(cli, 8)
    process.send_signal(number)
    result = cli.wait(process)

    assert result.code == 130
    assert "`aexp resume s` goes on" in result.error
    found = statuses(cli)
    assert set(found) <= {"SUCCESS", "PENDING", "ENQUEUED"}
    # Steps in flight were let end: whatever was claimed and began has been published and recorded.
    published = cli.query("SELECT count(*) FROM aexp.publications")[0][0]
    assert found["SUCCESS"] == published

    resumed = cli("resume", "s", "--json")
    assert resumed.code == 0, resumed.stderr
    assert resumed.json["account"]["messages"]["once"] == 120
    assert [p["ended"] for p in resumed.json["processes"]] == ["interrupted", "completed"]


def test_steps_that_outlast_the_drain_are_left_for_the_next_process(cli: Cli) -> None:
    cli.environment = {"AEXP_DRAIN_TIMEOUT_S": "1"}
    process = cli.start(
        "run", "resume", "--run-id", "s", "--set", "messages=3", "--set", "latency_s=8",
        "--set", "delivery=idempotent",
    )  # fmt: skip
    await_publications(cli, 3)
    process.send_signal(signal.SIGTERM)
    result = cli.wait(process)

    assert result.code == 130, result.stderr
    assert "Traceback" not in result.stderr
    assert statuses(cli) == {"PENDING": 4}


def test_a_second_signal_ends_at_once(cli: Cli) -> None:
    process = cli.start(
        "run", "resume", "--run-id", "s", "--set", "messages=40", "--set", "latency_s=30"
    )
    cli.await_row("SELECT 1 FROM dbos.workflow_status WHERE status = 'PENDING' OFFSET 5")

    def has_ended() -> bool:
        process.send_signal(signal.SIGTERM)
        return process.poll() is not None

    wait_until(has_ended, poll_s=0.05)

    assert cli.wait(process).code == 130
    assert set(statuses(cli)) <= {"PENDING", "ENQUEUED"}


def throwaway(cli: Cli) -> list[str]:
    """The databases that somebody made to throw them away."""
    rows = cli.query("SELECT datname FROM pg_database WHERE datname ~ '^aexp_crash_'")
    return [name for (name,) in rows]


@pytest.mark.parametrize("pause_s", [0.0, 0.005])
@pytest.mark.nightly
def test_impatience_leaves_no_database_and_no_process(cli: Cli, pause_s: float) -> None:
    process = cli.start("crash", "resume", "--set", "messages=40")
    # The template, and a copy that somebody works on.
    wait_until(lambda: len(throwaway(cli)) >= 2)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)

    def has_ended() -> bool:
        process.send_signal(signal.SIGINT)
        return process.poll() is not None

    wait_until(has_ended, poll_s=pause_s)
    result = cli.wait(process)

    assert result.code == 130, result.stderr
    assert result.error == "interrupted"
    assert throwaway(cli) == []
    _, alive = psutil.wait_procs(children, timeout=TIMEOUT_S)
    assert not alive


@pytest.mark.parametrize(
    ("command", "begun", "last"),
    [
        (["run", "resume", "--run-id", "s", *LONG], PUBLISHING, "`aexp resume s` goes on"),
        (
            ["run", "resume", "--run-id", "s", "--kills", "1", *LONG],
            PUBLISHING,
            "`aexp resume s` goes on",
        ),
        (
            ["crash", "resume"],
            "SELECT 1 FROM pg_database WHERE datname ~ '^aexp_crash_'",
            "interrupted",
        ),
    ],
    ids=["run", "kills", "crash"],
)
@pytest.mark.nightly
def test_impatience_at_a_terminal_ends_in_a_clean_line(
    cli: Cli, command: list[str], begun: str, last: str
) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "aexp", *command],
        cwd=cli.folder,
        env={**cli.all_variables(), "TERM": "xterm-256color", "COLUMNS": "100"},
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        shown = Shown(ours)
        cli.await_row(begun)

        def has_ended() -> bool:
            # What a terminal shows of it.
            process.send_signal(signal.SIGINT)
            return process.poll() is not None

        wait_until(has_ended, poll_s=0.05)
    assert process.returncode == 130
    lines = shown.lines()
    assert lines[-1] == ""
    assert lines[-2].startswith("aexp: error: interrupted")
    assert lines[-2].endswith(last)
    assert not any("━" in line for line in lines)


class Shown:
    """What a terminal shows that is read to its end in a thread."""

    def __init__(self, descriptor: int) -> None:
        self._read = b""
        self._descriptor = descriptor
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        # Linux says so of a terminal that everybody else has closed.
        with suppress(OSError):
            while part := os.read(self._descriptor, 65536):
                self._read += part
        os.close(self._descriptor)

    def lines(self) -> list[str]:
        """Its lines, as the few control sequences of a progress bar leave them."""
        self._thread.join()
        lines, row = [""], 0
        for part in re.split(r"(\r?\n|\r|\x1b\[[0-9;?]*[A-Za-z])", self._read.decode()):
            if part.endswith("\n"):
                row += 1
                lines += [""] * (row == len(lines))
            elif part == "\x1b[1A":
                row -= 1
            elif part == "\x1b[2K":
                lines[row] = ""
            elif not part.startswith(("\r", "\x1b")):
                lines[row] += part
        return lines


@pytest.mark.nightly
def test_a_signal_to_a_supervisor_drains_its_child_and_leaves_no_process(cli: Cli) -> None:
    process = cli.start("run", "resume", "--run-id", "s", "--kills", "2", *LONG)
    await_publications(cli, 4)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    result = cli.wait(process)

    assert result.code == 130, result.stderr
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert set(statuses(cli)) <= {"SUCCESS", "PENDING", "ENQUEUED"}
    assert cli("resume", "s", "--json").json["account"]["messages"]["once"] == 120


def test_a_second_process_on_the_same_run_is_refused(cli: Cli) -> None:
    first = cli.start("run", "resume", "--run-id", "s", *LONG)
    await_publications(cli, 1)

    second = cli("resume", "s")

    assert second.code == 2
    assert f"process {first.pid} (executor 'local') is already working on run 's'" in second.error
    first.send_signal(signal.SIGTERM)
    assert cli.wait(first).code == 130


@pytest.mark.nightly
def test_killing_the_supervisor_loses_nothing(cli: Cli) -> None:
    process = cli.start("run", "resume", "--run-id", "s", "--kills", "1", *LONG)
    await_publications(cli, 4)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    # The worker has nobody left to tell, and ends.
    _, alive = psutil.wait_procs(children, timeout=TIMEOUT_S)
    assert not alive

    resumed = cli("resume", "s", "--json")
    assert resumed.code == 0, resumed.stderr
    assert resumed.json["account"]["messages"]["once"] == 120


def test_a_signal_while_a_child_starts_is_an_interrupt_too(cli: Cli) -> None:
    process = cli.start("run", "resume", "--run-id", "s", "--kills", "2", *LONG)
    wait_until(
        lambda: bool(children_running(process.pid, "aexp.processes.forkserver")), poll_s=0.005
    )
    process.send_signal(signal.SIGINT)
    result = cli.wait(process)

    assert result.code == 130, result.stderr
    assert "`aexp resume s` goes on" in result.error


def test_another_executor_is_told_where_the_work_is(cli: Cli) -> None:
    crashed = cli("run", "resume", "--run-id", "s", "--crash-after", "2", "--set", "latency_s=0.3")
    assert crashed.code == -9

    refused = cli("resume", "s", "--executor-id", "other")

    assert refused.code == 2
    assert "give --executor-id local" in refused.error
    assert cli("resume", "s").code == 0


def test_runs_of_other_concurrency_do_not_touch_each_other(cli: Cli) -> None:
    slow = cli.start("run", "resume", "--run-id", "slow", *LONG)
    await_publications(cli, 1)
    assert cli("run", "resume", "--set", "messages=2", "--set", "concurrency=50").code == 0
    limits = cli.query(
        "SELECT worker_concurrency FROM dbos.queues WHERE name = 'publisher_queue.slow'"
    )
    assert limits == [(4,)]
    slow.send_signal(signal.SIGTERM)
    assert cli.wait(slow).code == 130


def test_nobody_looks_often_for_a_root_that_has_begun(cli: Cli) -> None:
    process = cli.start("run", "resume", "--run-id", "s", *LONG)
    cli.await_row("SELECT 1 FROM dbos.queues WHERE name = 'aexp.s' AND polling_interval_sec = 1")
    others = cli.query("SELECT name, polling_interval_sec FROM dbos.queues WHERE name <> 'aexp.s'")
    assert others == [("publisher_queue.s", float(os.environ["AEXP_POLL_INTERVAL_S"]))]
    process.send_signal(signal.SIGTERM)
    assert cli.wait(process).code == 130


def test_an_audit_of_a_run_that_is_under_way_judges_nothing(cli: Cli) -> None:
    process = cli.start("run", "resume", "--run-id", "s", *LONG)
    await_publications(cli, 1)
    audited = cli("audit", "s", "--json")
    assert audited.code == 1
    assert {promise["held"] for promise in audited.json["promises"]} == {None}
    process.send_signal(signal.SIGTERM)
    cli.wait(process)


def test_kills_of_a_run_that_has_ended_are_refused(cli: Cli) -> None:
    assert cli("run", "resume", "--run-id", "s", "--set", "messages=1").code == 0
    refused = cli("resume", "s", "--kills", "1")
    assert refused.code == 2
    assert "nothing to kill" in refused.error


def test_kills_that_do_not_land_are_no_pass(cli: Cli) -> None:
    (cli.folder / "quick.py").write_text(
        "from dbos import DBOS\n@DBOS.workflow()\nasync def quick() -> int:\n    return 1\n"
    )
    result = cli("run", "quick.py:quick", "--kills", "1", "--json")
    assert result.code == 1
    assert result.json["account"]["kills"]["landed"] == 0
    assert "only 0 of 1 kills landed" in result.stderr


@pytest.mark.nightly
def test_a_child_that_has_forked_is_killed_with_what_it_forked(cli: Cli) -> None:
    (cli.folder / "forks.py").write_text(
        "import subprocess, sys\n"
        "from dbos import DBOS\n"
        "@DBOS.step()\n"
        "async def fork(number: int) -> int:\n"
        "    subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()', __file__])\n"
        "    return number\n"
        "@DBOS.workflow()\n"
        "async def forks() -> int:\n"
        "    return sum([await fork(number) for number in range(20)])\n"
    )
    result = cli("run", "forks.py:forks", "--kills", "1", "--json")
    assert result.code == 0, result.stderr
    forked = str(cli.folder / "forks.py")
    assert [
        p for p in psutil.process_iter(["cmdline"]) if forked in (p.info["cmdline"] or ())
    ] == []


def test_a_crash_that_did_not_come_is_no_pass(cli: Cli) -> None:
    result = cli("run", "resume", "--crash-after", "1000", "--set", "messages=2", "--json")
    assert result.code == 1
    assert "only 0 of 1 kills landed" in result.stderr


def test_the_error_of_a_child_is_that_of_the_command(cli: Cli) -> None:
    (cli.folder / "in.jsonl").write_text('{"a": 1}\n' * 30)
    crashed = cli("run", "resume", "--run-id", "s", "--set", "input=in.jsonl", "--crash-after", "1")
    assert crashed.code == -9
    (cli.folder / "in.jsonl").unlink()
    result = cli("resume", "s", "--kills", "1")
    assert result.code == 2
    assert result.error.startswith("cannot read input")
    # A resume that was refused before it did anything is no process of the run.
    assert cli.query("SELECT count(*) FROM aexp.processes") == [(1,)]
