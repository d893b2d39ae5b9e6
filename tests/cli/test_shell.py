"""What a shell does with a command: it closes its pipes, completes its words, and asks back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from aexp.database import embedded
from aexp.scenarios import BUILT_IN
from tests.cli.test_help import SLOW
from tests.conftest import server_folder
from tests.support.cli import TIMEOUT_S, Cli, wait_until

pytestmark = pytest.mark.nightly


AEXP = (sys.executable, "-P", "-m", "aexp")


def without_reader(cli: Cli, *arguments: str) -> tuple[int, str]:
    """Exit code and stderr of a command whose stdout nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as stdout:
        ended = subprocess.run(
            [*AEXP, *arguments],
            cwd=cli.folder,
            env=cli.all_variables(),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["list"],
        ["list", "--json"],
        ["describe", "resume"],
        ["runs"],
        ["db", "url"],
    ],
    ids=" ".join,
)
def test_a_reader_who_has_read_enough_is_told_nothing(cli: Cli, arguments: list[str]) -> None:
    assert without_reader(cli, *arguments) == (141, "")


def test_an_account_that_nobody_reads_is_no_error_either(cli: Cli) -> None:
    assert cli("run", "resume", "--set", "messages=1", "--run-id", "x").code == 0
    for arguments in (["audit", "x"], ["report", "x", "-o", "-"]):
        assert without_reader(cli, *arguments) == (141, "")


@pytest.mark.parametrize("arguments", [["list"], ["--help"]])
def test_a_full_disk_is_one_clear_line(cli: Cli, arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [*AEXP, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ended.returncode == 1
    assert ended.stderr == "aexp: error: cannot write: No space left on device\n"


def test_streams_that_were_closed_at_the_start_are_no_error(cli: Cli) -> None:
    for closed in (">&-", "<&- >&-", "2>&-"):
        line = f'"$0" -P -m aexp list {closed}'
        ended = subprocess.run(
            ["sh", "-c", line, sys.executable], capture_output=True, text=True, check=False
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ("resume" in ended.stdout) is (closed == "2>&-")


def completed(
    cli: Cli, *words: str, shell: str = "bash", command: Sequence[str] = AEXP
) -> list[str]:
    """What a shell is told to put in place of the last of ``words``; nothing is on stderr."""
    told = subprocess.run(
        command,
        cwd=cli.folder,
        env={
            **cli.all_variables(),
            "_AEXP_COMPLETE": f"{shell}_complete",
            # Fish gives the word itself, the others its place.
            "COMP_WORDS": "\n".join(("aexp", *words)),
            "COMP_CWORD": words[-1] if shell == "fish" else str(len(words)),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert told.stderr == ""
    return list(filter(None, told.stdout.splitlines()))


def await_completion(found: list[str], cli: Cli, *words: str) -> None:
    """Complete again, as a person does, until a busy server answers within the time that it has."""
    told: list[str] = []

    def is_answered() -> bool:
        told[:] = completed(cli, *words)
        return bool(told)

    wait_until(is_answered)
    assert told == [f"plain,{run_id}" for run_id in found]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_commands_options_and_values_are_completed(cli: Cli, shell: str) -> None:
    def values(*words: str) -> set[str]:
        lines = completed(cli, *words, shell=shell)
        if shell == "zsh":
            # Kind, word, help.
            return set(lines[1::3])
        return {line.partition("\t")[0].removeprefix("plain,") for line in lines}

    assert {"run", "runs"} <= values("ru")
    assert "work" not in values("")
    assert "--kills" in values("run", "resume", "--ki")
    assert {"uvloop", "asyncio"} <= values("run", "--loop", "")
    assert "reset" in values("db", "re")


@pytest.mark.parametrize("name", ["run", "crash", "describe"])
def test_scenarios_are_completed_installed_ones_too(cli: Cli, name: str) -> None:
    found = cli.folder / "theirs-1.0.dist-info"
    found.mkdir()
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (found / "entry_points.txt").write_text("[aexp.scenarios]\nshipping = theirs:SHIPPING\n")
    cli.environment = {"PYTHONPATH": str(cli.folder)}
    assert completed(cli, name, "") == [
        f"plain,{known}" for known in sorted([*BUILT_IN, "shipping"])
    ]
    assert completed(cli, name, "ship") == ["plain,shipping"]
    # A file with a workflow of somebody's own.
    assert completed(cli, name, "./fl") == ["file,./fl"]


@pytest.mark.parametrize(
    "words", [["audit"], ["resume"], ["report"], ["run", "resume", "--run-id"]], ids=" ".join
)
def test_run_ids_are_completed_newest_first(cli: Cli, words: list[str]) -> None:
    for run_id in ("mine", "other", "mine_too"):
        assert cli("run", "resume", "--set", "messages=1", "--run-id", run_id).code == 0
    await_completion(["mine_too", "mine"], cli, *words, "mi")
    assert completed(cli, *words, "%") == []
    # Given as it is for other programs, or by an option of the line.
    assert cli.url is not None
    url, cli.url = cli.url.libpq, None
    assert completed(cli, *words, "") == []
    given = ["--database-url", url.replace("postgresql", "postgresql+psycopg")]
    await_completion(["other"], cli, words[0], *given, *words[1:], "other")
    (cli.folder / "dbos-config.yaml").write_text(f"system_database_url: {url}\n")
    await_completion(["other"], cli, *words, "other")


def test_run_ids_of_the_embedded_server_are_completed_while_it_runs() -> None:
    with server_folder() as folder, Cli(folder=folder, url=None) as alone:
        assert alone("run", "resume", "--set", "messages=1", "--run-id", "x").code == 0
        await_completion(["x"], alone, "audit", "")
        await_completion(["x"], alone, "audit", "--home", str(folder / ".aexp"), "")
        embedded.stop(folder / ".aexp")
        assert completed(alone, "audit", "") == []
        assert embedded.running_pid(folder / ".aexp") is None


def test_completion_makes_nothing_and_says_nothing_where_there_is_nothing(tmp_path: Path) -> None:
    nowhere = Cli(folder=tmp_path, url=None)
    assert completed(nowhere, "audit", "") == []
    nowhere.environment = {"DBOS_SYSTEM_DATABASE_URL": "postgresql://h@127.0.0.1:1/nothing"}
    assert completed(nowhere, "audit", "") == []
    nowhere.environment = {"DBOS_SYSTEM_DATABASE_URL": "nonsense"}
    assert completed(nowhere, "audit", "") == []
    nowhere.environment = {}
    (tmp_path / "dbos-config.yaml").write_text("[")
    assert completed(nowhere, "audit", "") == []
    assert [path.name for path in tmp_path.iterdir()] == ["dbos-config.yaml"]


def test_completion_imports_nothing_that_is_slow(cli: Cli) -> None:
    program = (
        "import sys; from aexp.__main__ import main\n"
        "try: main()\nfinally: print('imported', *sys.modules, sep='\\n')"
    )
    for words in ([""], ["run", "re"], ["run", "--"], ["audit", ""]):
        told = completed(cli, *words, command=(sys.executable, "-c", program))
        imported = set(told[told.index("imported") :])
        assert imported & SLOW <= ({"asyncpg"} if words[0] == "audit" else set())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_is_printed(cli: Cli, shell: str) -> None:
    cli.environment = {"_AEXP_COMPLETE": f"{shell}_source"}
    printed = cli()
    assert (printed.code, printed.stderr) == (0, "")
    assert f"_AEXP_COMPLETE={shell}_complete" in printed.stdout
    if shutil.which(shell) is not None:
        read = subprocess.run([shell, "-n"], input=printed.stdout, text=True, check=False)
        assert read.returncode == 0


def test_bash_completes_with_its_script(cli: Cli) -> None:
    place = cli.folder / "bin"
    place.mkdir()
    (place / "aexp").write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m aexp "$@"\n')
    (place / "aexp").chmod(0o755)
    script = (
        'eval "$(_AEXP_COMPLETE=bash_source aexp)"; COMP_WORDS=(aexp run scope-); COMP_CWORD=2;'
        ' _aexp_completion aexp; echo "${COMPREPLY[@]}"'
    )
    told = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**cli.all_variables(), "PATH": f"{place}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (told.stdout, told.stderr) == ("scope-functions\n", "")


def asked(cli: Cli, answer: str) -> subprocess.CompletedProcess[str]:
    """``aexp db reset``, with that answer on stdin."""
    return subprocess.run(
        [*AEXP, "db", "reset"],
        env=cli.all_variables(),
        input=answer,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "y es\n", "no"])
def test_a_reset_that_is_not_confirmed_drops_nothing_and_says_so(cli: Cli, answer: str) -> None:
    assert cli("run", "resume", "--set", "messages=1").code == 0
    refused = asked(cli, answer)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.endswith("aexp: nothing was dropped\n")
    assert "error" not in refused.stderr
    assert cli.query("SELECT count(*) FROM aexp.runs") == [(1,)]


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
def test_a_reset_that_is_confirmed_drops_everything(cli: Cli, answer: str) -> None:
    assert cli("run", "resume", "--set", "messages=1").code == 0
    assert asked(cli, answer).returncode == 0
    assert cli.query("SELECT count(*) FROM aexp.runs") == [(0,)]


def test_an_interrupt_at_the_question_is_an_interrupt(cli: Cli) -> None:
    with subprocess.Popen(
        [*AEXP, "db", "reset"],
        env=cli.all_variables(),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        with closing(process.stdin):
            told = b""
            while not told.endswith(b"[y/N]: "):
                told += os.read(process.stderr.fileno(), 1)
            process.send_signal(signal.SIGINT)
            assert process.stderr.read() == b"aexp: error: interrupted\n"
    assert process.returncode == 130
