"""``aexp serve`` as a real process on a port of the system's choice, and a client of it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support import commands
from tests.support.cli import TIMEOUT_S, Cli, wait_until

LONG = {"messages": 60, "concurrency": 4, "latency_s": 0.1}
_READY = re.compile(r"aexp serves (http://\S+)\n")


@dataclass
class Served:
    """A running service."""

    process: subprocess.Popen[str]
    url: str
    client: httpx.Client
    cli: Cli
    log: Path

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.url.rpartition(":")[2])

    def begin(self, scenario: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> str:
        """Begin a run; its id."""
        answer = self.client.post(
            f"/scenarios/{scenario}/runs", json={"parameters": dict(parameters or {}), **more}
        )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["run_id"])

    def run(self, run_id: str, *, report: bool = False) -> Any:
        """The run as the service tells of it."""
        answer = self.client.get(f"/runs/{run_id}", params={"report": report})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def await_end(self, run_id: str) -> Any:
        """The run with its report, once it has ended and nobody works on it."""

        def is_over() -> bool:
            run = self.run(run_id)
            return run["ended"] and not run["active"]

        wait_until(is_over, poll_s=0.1)
        return self.run(run_id, report=True)

    def await_publications(self, least: int) -> None:
        """Return when so many messages have been published."""
        self.cli.await_row("SELECT 1 FROM aexp.publications OFFSET %s LIMIT 1", (least - 1,))

    def count(self, table: str) -> int:
        """The rows of ``table``."""
        [(rows,)] = self.cli.query(f"SELECT count(*) FROM {table}")
        return int(rows)

    def statuses(self) -> dict[str, int]:
        """Workflows by status."""
        return dict(
            self.cli.query("SELECT status, count(*) FROM dbos.workflow_status GROUP BY status")
        )

    def wait(self) -> int:
        """See the service to its end; its exit code."""
        return self.process.wait(TIMEOUT_S)


@contextmanager
def serving(
    cli: Cli, *arguments: str, token: str | None = None, environment: Mapping[str, str] = {}
) -> Iterator[Served]:
    """A service for the life of the context. It is killed at the end if it still runs."""
    log = cli.folder / f"serve-{len(cli.started)}.log"
    cli.environment = {**cli.environment, **environment}
    if token is not None:
        cli.environment = {**cli.environment, "AEXP_API_TOKEN": token}
    with log.open("w") as stderr:
        process = commands.start(
            ["serve", "--port", "0", *arguments],
            folder=cli.folder,
            environment=cli.all_variables(),
            # Nobody reads it meanwhile: a pipe would fill.
            stderr=stderr,
        )
    cli.started.append(process)
    assert process.stdout is not None
    ready = _READY.fullmatch(process.stdout.readline())
    assert ready is not None, log.read_text()
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    with httpx.Client(
        base_url=ready[1], timeout=TIMEOUT_S, trust_env=False, headers=headers
    ) as client:
        yield Served(process, ready[1], client, cli, log)
        if process.poll() is None:
            workers = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait()
            # They notice and drain: what they write is not to meet the end of the database.
            _, left = psutil.wait_procs(workers, timeout=TIMEOUT_S)
            assert not left


def problem(answer: httpx.Response, status: int, slug: str) -> Any:
    """The problem that ``answer`` is, which must be of this kind."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["type"] == f"urn:aexp:problem:{slug}"
    assert document["status"] == status
    assert document["title"]
    assert "Traceback" not in document["detail"]
    return document


def sent_events(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    """The data of server-sent events as they come; each says its number twice."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            data = json.loads(fields["data"])
            assert (fields["id"], fields["event"]) == (str(data["seq"]), data["event"])
            yield data
            fields = {}
