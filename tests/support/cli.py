"""``python -m aexp`` as a real process, and no process left behind."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import anyio
import psutil
import psycopg

from aexp.database import DatabaseUrl
from tests.support import commands

# Long enough for the slowest machine; only a hang reaches it.
TIMEOUT_S = 120


@dataclass(frozen=True)
class Result:
    """How a command ended, and what it wrote."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """What it wrote on stdout, which must be one JSON document and nothing else."""
        return json.loads(self.stdout)

    @property
    def error(self) -> str:
        """The one line that says what is wrong."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("aexp: error: ")]
        assert len(lines) == 1, self.stderr
        assert "Traceback" not in self.stderr
        return lines[0].removeprefix("aexp: error: ")

    @property
    def events(self) -> list[dict[str, Any]]:
        """Its log lines."""
        return [json.loads(line) for line in self.stderr.splitlines() if line.startswith("{")]


def held(report: Mapping[str, Any]) -> dict[str, bool | None]:
    """By promise, whether it was held; None when it was not judged."""
    return {promise["name"]: promise["held"] for promise in report["promises"]}


def broken(report: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """By promise that was broken, the anomalies that broke it."""
    return {
        promise["name"]: promise["anomalies"]
        for promise in report["promises"]
        if promise["held"] is False
    }


@dataclass
class Cli(AbstractContextManager["Cli"]):
    """Runs ``aexp`` in ``folder`` on ``url``; processes that still run at the end are killed."""

    folder: Path
    url: DatabaseUrl | None
    environment: Mapping[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``aexp ARGUMENTS`` and return at once."""
        process = commands.start(
            arguments,
            folder=self.folder,
            environment=self.all_variables(),
            stderr=subprocess.PIPE,
        )
        self.started.append(process)
        return process

    def __call__(self, *arguments: str) -> Result:
        """Run ``aexp ARGUMENTS`` to its end."""
        return self.wait(self.start(*arguments))

    def wait(self, process: subprocess.Popen[str]) -> Result:
        """See ``process`` to its end."""
        stdout, stderr = process.communicate(timeout=TIMEOUT_S)
        return Result(process.returncode, stdout, stderr)

    def query(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of the command's database."""
        assert self.url is not None
        with psycopg.connect(self.url.libpq, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def await_row(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        """Return when ``statement`` finds a row; fails when it has not within TIMEOUT_S."""
        wait_until(lambda: bool(self.query(statement, parameters)))

    def all_variables(self) -> dict[str, str]:
        """The environment of the commands."""
        environment = {**os.environ, **self.environment}
        if self.url is not None:
            environment["DBOS_SYSTEM_DATABASE_URL"] = self.url.libpq
        return environment

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()


def wait_until(condition: Callable[[], bool], *, poll_s: float = 0.02) -> None:
    """Return when ``condition`` has come true; fails when it has not within TIMEOUT_S."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "it has not come true"
        time.sleep(poll_s)


async def eventually(
    condition: Callable[[], bool | Awaitable[bool]], *, poll_s: float = 0.02
) -> None:
    """Return when ``condition``, which may have to be awaited, has come true.

    Raises TimeoutError when it has not within TIMEOUT_S.
    """
    with anyio.fail_after(TIMEOUT_S):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await anyio.sleep(poll_s)


def children_running(pid: int, word: str) -> list[psutil.Process]:
    """The processes that ``pid`` and its children started with ``word`` as an argument."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        # One that ends in this moment runs nothing any more.
        with suppress(psutil.NoSuchProcess):
            if word in child.cmdline():
                found.append(child)
    return found
