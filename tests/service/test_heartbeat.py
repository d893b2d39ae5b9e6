"""The heartbeat of a service: it ticks while the service is up, and no longer."""

from __future__ import annotations

import signal

import pytest

from aexp.errors import UsageError
from aexp.service.heartbeat import heartbeat_of
from tests.support.cli import Cli, wait_until
from tests.support.service import Served, serving

FIRST, SECOND = "heartbeat-1s-n1", "heartbeat-1s-n2"


def await_tick(served: Served, run_id: str, *pids: int) -> None:
    """Return when the run has one more tick, in a process of these if any are named."""
    ticks = (
        "SELECT 1 FROM aexp.events WHERE event = 'heartbeat.ticked' AND run_id = %s"
        " AND (%s OR pid = ANY(%s))"
    )
    which = (run_id, not pids, list(pids))
    before = len(served.cli.query(ticks, which))
    served.cli.await_row(f"{ticks} OFFSET %s", (*which, before))


def heartbeats(served: Served) -> dict[str, str]:
    """Runs of the scenario with their statuses."""
    runs = served.client.get("/runs", params={"scenario": "heartbeat"}).json()["runs"]
    return {run["run_id"]: run["status"] for run in runs}


def workers(served: Served, executor_id: str) -> list[int]:
    """The living processes of an executor that work on the second run."""
    found = served.cli.query(
        "SELECT pid FROM aexp.processes WHERE run_id = %s AND executor_id = %s AND ended IS NULL",
        (SECOND, executor_id),
    )
    return [pid for (pid,) in found]


@pytest.mark.nightly
def test_it_goes_on_after_a_restart_and_is_followed_by_the_next(cli: Cli) -> None:
    # As a service that was killed leaves it, with few ticks to go.
    crashed = cli(
        "run", "heartbeat", "--run-id", FIRST, "--set", "ticks=3", "--crash-after", "1"
    )  # fmt: skip
    assert crashed.code == -signal.SIGKILL
    cli.query(
        "INSERT INTO aexp.run_events (run_id, seq, event, data) VALUES (%s, 1, 'run.requested',"
        ' \'{"kills": 0, "seed": 0, "kept": true}\')',
        (FIRST,),
    )
    with serving(cli, "--heartbeat", "1", "--max-active-runs", "1") as served:
        await_tick(served, SECOND)
        assert heartbeats(served) == {SECOND: "PENDING", FIRST: "SUCCESS"}
        assert served.await_end(FIRST)["ok"]
        assert served.run(SECOND)["active"]
        # It takes nobody's place.
        beside = served.begin("resume", {"messages": 1})
        served.process.terminate()
        assert served.wait() == 0
    assert cli.query("SELECT DISTINCT ended FROM aexp.processes WHERE run_id = %s", (SECOND,)) == [
        ("interrupted",)
    ]

    with serving(cli) as served:
        # Nobody asks for it here: of what is left only the other one goes on.
        assert served.await_end(beside)["ok"]
        assert not served.run(SECOND)["active"]
        served.process.terminate()
        assert served.wait() == 0

    with serving(cli, "--heartbeat", "1") as served:
        await_tick(served, SECOND)
        with serving(cli, "--heartbeat", "1", "--executor-id", "b") as other:
            wait_until(lambda: bool(workers(other, "b")))
            served.process.kill()
            served.process.wait()
            await_tick(other, SECOND, *workers(other, "b"))
            assert set(heartbeats(other)) == {FIRST, SECOND}

            assert other.client.post(f"/runs/{SECOND}/cancel").status_code == 200
            wait_until(lambda: "host.standing_run_left_alone" in other.log.read_text())
            assert heartbeats(other)[SECOND] == "CANCELLED"
            assert served.cli.query(
                "SELECT data->>'scheduled' FROM aexp.events WHERE event = 'heartbeat.ticked'"
                " GROUP BY run_id, 1 HAVING count(*) > 1"
            ) == []  # fmt: skip
            assert other.client.post(f"/runs/{SECOND}/resume").status_code == 202
            await_tick(other, SECOND)


def test_a_run_of_it_is_a_days_worth_and_a_page_full_at_most() -> None:
    assert [heartbeat_of(every_s).parameters["ticks"] for every_s in (1, 60, 3600)] == [
        3600, 1440, 24,
    ]  # fmt: skip


def test_what_cannot_tick_evenly_is_refused(cli: Cli) -> None:
    refused = cli("serve", "--heartbeat", "7")
    assert refused.code == 2
    assert "--heartbeat 7: " in refused.error
    assert refused.stderr.count("\n") == 1
    for every_s in (-1, 0, 3601):
        with pytest.raises(UsageError, match=f"--heartbeat {every_s}: "):
            heartbeat_of(every_s)
