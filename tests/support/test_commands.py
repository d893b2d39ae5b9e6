"""The commands of these tests are forked; one that is started does and says the same."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.support import commands
from tests.support.cli import TIMEOUT_S, Cli, Result, wait_until

# An interpreter with a variable of its own is started.
STARTED = {"PYTHONHASHSEED": "1"}

FLOWS = """
import sys
from dbos import DBOS

@DBOS.workflow()
async def whereabouts() -> list[object]:
    return [sys.argv, sys.path, sys.stdout.encoding.lower()]
"""


def both(cli: Cli, *arguments: str) -> list[Result]:
    """What ``aexp ARGUMENTS`` comes to when it is forked, and when it is started."""
    forked = cli(*arguments)
    cli.environment = STARTED
    return [forked, cli(*arguments)]


@pytest.mark.parametrize("arguments", [["--version"], ["frobnicate"], ["describe", "resume"], []])
def test_a_forked_command_says_what_a_started_one_says(cli: Cli, arguments: list[str]) -> None:
    forked, started = both(cli, *arguments)
    assert forked == started
    assert forked.stdout + forked.stderr


def test_a_workflow_finds_itself_in_the_same_surroundings(cli: Cli) -> None:
    (cli.folder / "flows.py").write_text(FLOWS)
    forked, started = both(cli, "run", "flows.py:whereabouts", "--json")
    assert forked.json["result"] == started.json["result"]
    assert str(cli.folder) in forked.json["result"][1]


def test_only_one_of_both_is_forked(cli: Cli) -> None:
    command = cli.start("run", "scope")
    assert "forkserver" in " ".join(psutil.Process(command.pid).cmdline())
    cli.environment = STARTED
    command = cli.start("run", "scope")
    wait_until(lambda: "scope" in psutil.Process(command.pid).cmdline())


def test_a_forked_command_that_is_killed_says_so(cli: Cli) -> None:
    command = cli.start("run", "scope")
    assert command.poll() is None
    command.kill()
    assert command.wait() == -signal.SIGKILL
    assert command.communicate() == ("", "")


def test_who_waits_too_briefly_is_told(cli: Cli) -> None:
    command = cli.start("run", "scope")
    with pytest.raises(subprocess.TimeoutExpired):
        command.wait(0)
    command.terminate()
    assert command.wait(TIMEOUT_S) == -signal.SIGTERM


def test_a_forked_command_has_its_own_folder_and_environment(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "AEXP_LOOP": "nonsense"}
    with commands.start(
        ["list"], folder=tmp_path, environment=environment, stderr=subprocess.PIPE
    ) as command:
        _, stderr = command.communicate()
    assert command.returncode == 2
    assert stderr == "aexp: error: setting loop: Input should be 'uvloop' or 'asyncio'\n"
