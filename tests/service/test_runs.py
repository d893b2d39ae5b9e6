"""What a run of the service goes through: followed, cancelled, killed, drained, gone on with."""

from __future__ import annotations

import os
import signal
import socket

import httpx
import psutil
import pytest

from tests.support.cli import TIMEOUT_S, Cli, wait_until
from tests.support.service import LONG, Served, problem, sent_events, serving


def test_events_come_in_order_until_the_run_has_ended(shared: Served) -> None:
    run_id = shared.begin("resume", {"messages": 30, "concurrency": 2}, kills=1)
    with shared.client.stream("GET", f"/runs/{run_id}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = list(sent_events(answer))
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    names = [event["event"] for event in events]
    assert names[:2] == ["run.requested", "run.began"]
    assert names[-2:] == ["run.progressed", "run.ended"]
    assert names.count("run.process_killed") == 1
    assert events[-1]["data"] == {"status": "SUCCESS", "kills": 1}
    assert events[-2]["data"] == {"done": 30, "total": 30}


def test_a_client_that_comes_again_misses_nothing_and_sees_nothing_twice(shared: Served) -> None:
    run_id = shared.begin("resume", {"messages": 20, "concurrency": 2})
    seen: list[int] = []
    last = "0"
    while True:
        headers = {"Last-Event-ID": last}
        with shared.client.stream("GET", f"/runs/{run_id}/events", headers=headers) as answer:
            # It leaves after each event.
            event = next(sent_events(answer), None)
        if event is None:
            break
        seen.append(event["seq"])
        last = str(event["seq"])
    assert seen == list(range(1, len(seen) + 1))
    assert shared.cli.query(
        "SELECT count(*) FROM aexp.run_events WHERE run_id = %s", (run_id,)
    ) == [(len(seen),)]
    problem(shared.client.get("/runs/nope/events"), 404, "unknown-run")
    wrong = {"Last-Event-ID": "x"}
    problem(shared.client.get(f"/runs/{run_id}/events", headers=wrong), 422, "invalid-request")


def test_a_cancelled_run_is_resumed_and_ends(served: Served) -> None:
    run_id = served.begin("resume", LONG)
    served.await_publications(8)
    problem(served.client.post(f"/runs/{run_id}/resume"), 409, "run-active")
    problem(served.client.delete(f"/runs/{run_id}"), 409, "run-active")

    cancelled = served.client.post(f"/runs/{run_id}/cancel")
    assert cancelled.status_code == 200
    assert (cancelled.json()["status"], cancelled.json()["active"]) == ("CANCELLED", False)
    assert cancelled.json()["ended"]
    assert set(served.statuses()) == {"CANCELLED", "SUCCESS"}
    problem(served.client.post(f"/runs/{run_id}/cancel"), 409, "run-ended")

    resumed = served.client.post(f"/runs/{run_id}/resume")
    assert resumed.status_code == 202
    run = served.await_end(run_id)
    assert run["ok"], run["report"]["promises"]
    assert run["report"]["account"]["messages"]["once"] == LONG["messages"]
    # Back where they were, so that the limit of their queue still holds.
    assert served.cli.query(
        "SELECT DISTINCT split_part(queue_name, '.', 1) FROM dbos.workflow_status"
        " WHERE workflow_uuid <> %s", (run_id,)
    ) == [("publisher_queue",)]  # fmt: skip
    with served.client.stream("GET", f"/runs/{run_id}/events") as answer:
        names = [event["event"] for event in sent_events(answer)]
    order = ["run.interrupted", "run.cancelled", "run.resumed", "run.began", "run.ended"]
    assert [name for name in names[2:] if name != "run.progressed"] == order
    problem(served.client.post(f"/runs/{run_id}/resume"), 409, "run-ended")


def test_who_follows_a_run_that_is_cancelled_is_told(shared: Served) -> None:
    run_id = shared.begin("resume", LONG)
    with shared.client.stream("GET", f"/runs/{run_id}/events") as answer:
        events = sent_events(answer)
        assert next(events)["event"] == "run.requested"
        assert shared.client.post(f"/runs/{run_id}/cancel").status_code == 200
        names = [event["event"] for event in events]
    assert names[-1] == "run.cancelled"
    assert shared.run(run_id)["status"] == "CANCELLED"


def test_a_run_that_is_cancelled_before_it_has_begun_stays_so(shared: Served) -> None:
    ask = {"parameters": LONG}
    headers = {"Idempotency-Key": "k"}
    path = "/scenarios/resume/runs"
    run_id = shared.client.post(path, json=ask, headers=headers).json()["run_id"]
    # Its process is still importing.
    assert shared.client.post(f"/runs/{run_id}/cancel").json()["status"] == "CANCELLED"
    assert shared.client.get("/runs?status=CANCELLED").json()["runs"][0]["run_id"] == run_id
    # Though it has no workflow, everybody says the same.
    assert shared.run(run_id, report=True)["report"]["status"] == "CANCELLED"
    audited = shared.cli("audit", run_id, "--json")
    assert (audited.code, audited.json["status"]) == (1, "CANCELLED")
    again = shared.client.post(path, json=ask, headers=headers)
    assert (again.json()["status"], again.json()["active"]) == ("CANCELLED", False)
    assert shared.client.post(f"/runs/{run_id}/resume").status_code == 202
    assert shared.await_end(run_id)["ok"]


def test_a_deleted_run_leaves_nothing(shared: Served) -> None:
    kept = shared.client.post("/trigger_sync?scenario=resume", json={}).json()["run_id"]
    for scenario in ("resume", "heartbeat"):
        run_id = shared.begin(scenario)
        cancelled = shared.client.post(f"/runs/{run_id}/cancel")
        assert cancelled.status_code in {200, 409}
        assert shared.client.delete(f"/runs/{run_id}").status_code == 204
        problem(shared.client.get(f"/runs/{run_id}"), 404, "unknown-run")
        problem(shared.client.delete(f"/runs/{run_id}"), 404, "unknown-run")
        for table, column in (
            ("aexp.runs", "run_id"), ("aexp.ledger", "run_id"), ("aexp.events", "run_id"),
            ("aexp.processes", "run_id"), ("aexp.publications", "run_id"),
            ("aexp.run_events", "run_id"), ("dbos.workflow_status", "application_version"),
            ("dbos.operation_outputs", "workflow_uuid"), ("dbos.queues", "name"),
            ("dbos.workflow_schedules", "schedule_name"),
        ):  # fmt: skip
            found = shared.cli.query(f"SELECT count(*) FROM {table} WHERE {column} LIKE %s",
                                     (f"%{run_id}%",))  # fmt: skip
            assert found == [(0,)], table
    assert shared.run(kept, report=True)["ok"]


def test_a_service_that_was_killed_goes_on_with_its_runs(cli: Cli) -> None:
    with serving(cli) as first:
        run_id = first.begin("resume", LONG, kills=1, seed=3)
        first.await_publications(5)
        workers = psutil.Process(first.process.pid).children(recursive=True)
        first.process.kill()
        first.wait()
    assert cli.query("SELECT status FROM dbos.workflow_status WHERE workflow_uuid = %s",
                     (run_id,)) == [("PENDING",)]  # fmt: skip
    with serving(cli) as second:
        run = second.await_end(run_id)
        assert run["ok"], run["report"]["promises"]
        assert run["report"]["account"]["messages"]["once"] == LONG["messages"]
        # The kill that was asked for is not forgotten either.
        assert run["kills"]["landed"] == 1
        with second.client.stream("GET", f"/runs/{run_id}/events") as answer:
            events = list(sent_events(answer))
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert [event["event"] for event in events].count("run.began") == 2
    _, alive = psutil.wait_procs(workers, timeout=TIMEOUT_S)
    assert not alive


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.nightly
def test_a_signal_under_load_drains_and_ends_well(cli: Cli, number: signal.Signals) -> None:
    with serving(cli) as served:
        run_ids = [served.begin("resume", LONG) for _ in range(2)]
        served.await_publications(8)
        with served.client.stream("GET", f"/runs/{run_ids[0]}/events") as answer:
            events = sent_events(answer)
            next(events)
            served.process.send_signal(number)
            # Who follows is let go, and comes again.
            list(events)
        assert served.wait() == 0
        assert '"severity": "ERROR"' not in served.log.read_text()
        assert set(served.statuses()) <= {"SUCCESS", "PENDING", "ENQUEUED"}
        ends = cli.query("SELECT DISTINCT ended FROM aexp.processes")
        assert ends == [("interrupted",)]
    with serving(cli) as served:
        for run_id in run_ids:
            assert served.await_end(run_id)["ok"]


def test_a_second_signal_ends_at_once_and_leaves_no_process(cli: Cli) -> None:
    with serving(cli) as served:
        served.begin("resume", {"messages": 40, "concurrency": 4, "latency_s": 60})
        cli.await_row("SELECT 1 FROM dbos.workflow_status WHERE status = 'PENDING' OFFSET 2")
        children = psutil.Process(served.process.pid).children(recursive=True)

        def has_ended() -> bool:
            served.process.send_signal(signal.SIGTERM)
            return served.process.poll() is not None

        wait_until(has_ended, poll_s=0.05)
        assert served.wait() == 130
        _, alive = psutil.wait_procs(children, timeout=TIMEOUT_S)
        assert not alive
        assert set(served.statuses()) <= {"PENDING", "ENQUEUED"}


def test_more_runs_than_may_be_are_refused_for_now(cli: Cli) -> None:
    with serving(cli, "--max-active-runs", "1") as served:
        run_id = served.begin("resume", LONG)
        body = {"parameters": {"messages": 1}}
        refused = served.client.post("/scenarios/resume/runs", json=body)
        problem(refused, 429, "too-many-runs")
        assert int(refused.headers["retry-after"]) > 0
        served.client.post(f"/runs/{run_id}/cancel")
        again = served.client.post("/scenarios/resume/runs?wait=true", json=body)
        assert again.status_code == 200
        assert len(served.client.get("/runs").json()["runs"]) == 2


def test_a_client_that_leaves_does_not_stop_the_run_it_waits_for(served: Served) -> None:
    body = b'{"parameters": {"messages": 10}}'
    head = (
        f"POST /trigger_sync?scenario=resume HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall(head.encode() + body)
        served.await_publications(1)
        assert "aexp_waiting_requests 1.0" in served.client.get("/metrics").text
    wait_until(lambda: "aexp_waiting_requests 0.0" in served.client.get("/metrics").text)
    [run] = served.client.get("/runs").json()["runs"]
    assert served.await_end(run["run_id"])["ok"]


def test_a_run_whose_worker_fails_says_why(cli: Cli) -> None:
    given = cli.folder / "in.jsonl"
    given.write_text('{"message": "one"}\n' * 60)
    slow = {"input": "in.jsonl", "concurrency": 1, "latency_s": 0.1}
    with serving(cli, "--input-root", str(cli.folder)) as served:
        run_id = served.begin("resume", slow)
        served.await_publications(1)
        served.client.post("/shutdown")
        assert served.wait() == 0
    given.write_text('{"message": "another"}\n')
    with serving(cli, "--input-root", str(cli.folder)) as again:
        cli.await_row("SELECT 1 FROM aexp.run_events WHERE event = 'run.failed'")
        wait_until(lambda: not again.run(run_id)["active"])
        [error] = again.cli.query(
            "SELECT data->>'error' FROM aexp.run_events WHERE event = 'run.failed'"
        )
        assert "in.jsonl" in error[0]
        assert not again.run(run_id)["ended"]


def test_a_run_waits_for_an_executor_that_is_away(served: Served) -> None:
    run_id = served.begin("resume", LONG)
    served.await_publications(1)
    served.client.post("/shutdown")
    assert served.wait() == 0
    served.cli.query("UPDATE dbos.workflow_status SET executor_id = 'other'")
    served.cli.query("UPDATE dbos.workflow_status SET status = 'PENDING' WHERE workflow_uuid = %s",
                     (run_id,))  # fmt: skip
    with serving(served.cli) as again:
        wait_until(lambda: again.run(run_id)["waiting_for"] != [])
        [absent] = again.run(run_id)["waiting_for"]
        assert absent["executor_id"] == "other"
        assert not again.run(run_id)["ended"]
        assert served.cli("recover", "other").code == 0
        run = again.await_end(run_id)
        assert run["ok"]
        assert run["waiting_for"] == []


def test_no_process_is_left_behind(served: Served) -> None:
    served.client.post("/trigger_sync?scenario=scope", json={})
    # What forks the processes of runs stays, with none of them.
    kept = psutil.Process(served.process.pid).children(recursive=True)
    assert all("aexp.processes.forkserver" in child.cmdline() for child in kept)
    assert not any(child.children() for child in kept)
    assert httpx.get(f"{served.url}/livez", trust_env=False).status_code == 200
    os.kill(served.process.pid, signal.SIGTERM)
    assert served.wait() == 0
    assert psutil.wait_procs(kept, timeout=60)[1] == []
    assert "Traceback" not in served.log.read_text()
