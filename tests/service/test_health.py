"""Whether the service says that it can work, also while it cannot."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aexp.database import DatabaseUrl, embedded
from tests.conftest import server_folder
from tests.scenarios.test_blocking_calls import DETECTOR, noted
from tests.support.cli import Cli, wait_until
from tests.support.service import LONG, Served, problem, sent_events, serving


@pytest.fixture
def alone() -> Iterator[Cli]:
    """The command without any database given: it starts a server of its own."""
    with server_folder() as folder, Cli(folder=folder, url=None) as cli:
        yield cli


def test_it_is_alive_and_ready(served: Served) -> None:
    assert served.client.get("/livez").json() == {"status": "alive"}
    # A machine that stalls while it starts makes it late.
    wait_until(lambda: served.client.get("/readyz").json() == {"status": "ready"})


def test_a_loop_that_is_late_is_not_ready(served: Served) -> None:
    served.process.send_signal(signal.SIGSTOP)
    # Three ticks of each two hundred must have been late by more than the limit of a second.
    stalled_until = time.monotonic() + 1.5
    wait_until(lambda: time.monotonic() > stalled_until)
    served.process.send_signal(signal.SIGCONT)
    refused = problem(served.client.get("/readyz"), 503, "not-ready")
    assert "the event loop is late" in [
        reason.partition(" by ")[0] for reason in refused["reasons"]
    ]
    assert served.client.get("/livez").status_code == 200


def test_who_probes_takes_no_connections_from_those_who_work(shared: Served) -> None:
    sessions = "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"
    [(before,)] = shared.cli.query(sessions)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: shared.client.get("/readyz").status_code, range(100)))
    [(after,)] = shared.cli.query(sessions)
    assert set(answers) <= {200, 503}
    # Ten ask at a time: however slow each answer is, they share it.
    assert after - before < 50


def test_a_database_of_another_version_is_not_ready(served: Served) -> None:
    served.cli.query("UPDATE aexp.alembic_version SET version_num = '9999'")
    refused = problem(served.client.get("/readyz"), 503, "not-ready")
    assert refused["reasons"] == ["the database is not migrated to this version"]
    assert served.client.get("/livez").status_code == 200


def test_figures_are_told_to_prometheus(served: Served) -> None:
    served.client.post("/trigger_sync?scenario=resume", json={"parameters": {"messages": 2}})
    text = served.client.get("/metrics").text
    assert 'aexp_runs{scenario="resume",status="SUCCESS"} 1.0' in text
    steps = next(line for line in text.splitlines() if line.startswith("aexp_step_attempts{"))
    # The plan, the enqueueing, the collecting, and one for each message.
    assert float(steps.rpartition(" ")[2]) == 5
    for name in ("aexp_active_runs 0.0", "aexp_loop_lag_p99_seconds ", "aexp_pool_connections{"):
        assert name in text
    served.begin("resume", {**LONG, "concurrency": 1})
    served.await_publications(3)
    text = served.client.get("/metrics").text
    assert "aexp_active_runs 1.0" in text
    assert 'aexp_queue_depth{queue="publisher_queue"}' in text


def test_a_database_that_goes_away_and_returns(alone: Cli) -> None:
    home = alone.folder / ".aexp"
    with serving(alone) as served:
        server = Cli(folder=alone.folder, url=None)
        alone.url = DatabaseUrl.parse(server("db", "url").stdout.strip())
        run_id = served.begin("resume", LONG)
        served.await_publications(5)
        assert embedded.stop(home)

        refused = problem(served.client.get("/readyz"), 503, "not-ready")
        assert refused["reasons"] == ["the database cannot be reached"]
        assert served.client.get("/livez").status_code == 200
        refused = served.client.get("/runs")
        problem(refused, 503, "database-unavailable")
        assert refused.headers["retry-after"]
        assert str(home) not in refused.text
        problem(served.client.post("/trigger_async?scenario=scope"), 503, "database-unavailable")
        # Until the worker has noticed too.
        wait_until(lambda: "worker_failed" in served.log.read_text())

        assert server("db", "start").code == 0
        wait_until(lambda: served.client.get("/readyz").status_code == 200)
        # The run goes on by itself.
        run = served.await_end(run_id)
        assert run["ok"], run["report"]["promises"]
        assert run["report"]["account"]["messages"]["once"] == LONG["messages"]
        with served.client.stream("GET", f"/runs/{run_id}/events") as answer:
            events = list(sent_events(answer))
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert events[-1]["event"] == "run.ended"
        assert served.client.post("/shutdown").status_code == 202
        assert served.wait() == 0


@pytest.mark.nightly
def test_the_service_blocks_its_loop_nowhere(cli: Cli, tmp_path: Path) -> None:
    known = os.environ.get("PYTHONPATH")
    cli.environment = {
        "PYTHONPATH": f"{DETECTOR}{os.pathsep}{known}" if known else str(DETECTOR),
        "AEXP_TEST_BLOCKING_CALLS": str(tmp_path / "blocking"),
    }
    root = tmp_path / "root"
    root.mkdir()
    (root / "in.jsonl").write_text('{"a": 1}\n' * 40)
    with serving(cli, "--input-root", str(root)) as served:
        run_id = served.begin("resume", {"input": "in.jsonl", "concurrency": 4}, kills=1)
        for path in ("events", "steps", "workflows"):
            assert served.client.get(f"/runs/{run_id}/{path}").status_code == 200
        assert served.await_end(run_id)["ok"]
        other = served.begin("resume", LONG)
        served.client.post(f"/runs/{other}/cancel")
        served.client.post(f"/runs/{other}/resume")
        served.client.post(f"/runs/{other}/cancel")
        served.client.delete(f"/runs/{other}")
        for path in ("/scenarios", "/readyz", "/livez", "/metrics", "/openapi.json", "/runs", "/x"):
            served.client.get(path)
        served.client.post("/shutdown")
        assert served.wait() == 0
    # At a route's first request the framework looks where its source is, for its error messages.
    found = [call for call in noted(tmp_path) if "_extract_endpoint_context" not in call]
    assert found == []
