"""The scenario ``heartbeat`` as its users run it: real processes, real SIGKILL, a real clock."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from croniter import croniter

from aexp.errors import InvalidParameter
from aexp.scenarios.heartbeat.workflow import SCENARIO, HeartbeatParameters
from tests.support.cli import Cli, broken, held

EVERY_TICK = (
    "SELECT data->>'scheduled' FROM aexp.events WHERE event = 'heartbeat.ticked' ORDER BY 1"
)


def broken_rows(report: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """By promise that was broken, the rows that show it."""
    return {
        name: [row for anomaly in anomalies for row in anomaly["rows"]]
        for name, anomalies in broken(report).items()
    }


def await_ticks_pass(cli: Cli, count: int) -> None:
    """Until ``count`` seconds of the database's clock, and so as many ticks, have passed."""
    [(now,)] = cli.query("SELECT clock_timestamp()")
    cli.await_row("SELECT 1 WHERE clock_timestamp() > %s", [now + timedelta(seconds=count)])


def recorded(cli: Cli) -> list[datetime]:
    return [datetime.fromisoformat(scheduled) for (scheduled,) in cli.query(EVERY_TICK)]


def gaps(times: Sequence[datetime]) -> set[float]:
    """The seconds between a tick and the next: one, if none is missing and none runs twice."""
    return {(after - before).total_seconds() for before, after in pairwise(times)}


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def no_schedule_is_left(cli: Cli) -> bool:
    return cli.query("SELECT count(*) FROM dbos.workflow_schedules") == [(0,)]


def test_ticks_three_times_and_removes_its_schedule(cli: Cli) -> None:
    result = cli("run", "heartbeat", "--json")

    report = result.json
    assert result.code == 0, result.stderr
    assert report["account"]["heartbeat"]["asked"] == 3
    assert report["account"]["heartbeat"]["missed"] == 0
    assert len(report["account"]["ticks"]) == report["account"]["heartbeat"]["ran"]
    assert {row["bodies"] for row in report["account"]["ticks"]} == {1}
    promises = held(report)
    assert promises.pop("every_tick") is None
    assert all(promises.values())
    times = recorded(cli)
    assert report["result"] == {
        "ticks": len(times),
        "first": times[0].isoformat(),
        "last": times[-1].isoformat(),
    }
    assert len(times) >= 3
    assert gaps(times) == {1.0}
    assert no_schedule_is_left(cli)
    ticked = [event for event in result.events if event["event"] == "heartbeat.ticked"]
    assert [datetime.fromisoformat(event["scheduled"]) for event in ticked] == times
    for event in ticked:
        actual = datetime.fromisoformat(event["actual"])
        late = (actual - datetime.fromisoformat(event["scheduled"])).total_seconds()
        assert event["lateness_s"] == pytest.approx(late, abs=0.001)
        assert event["lateness_s"] >= 0
        assert event["pid"] == report["processes"][0]["pid"]


@pytest.mark.parametrize("backfill", ["false", "true"])
@pytest.mark.nightly
def test_survives_two_kills(cli: Cli, backfill: str) -> None:
    result = cli(
        "run", "heartbeat", "--kills", "2", "--seed", "3", "--set", f"backfill={backfill}", "--json"
    )

    report = result.json
    assert result.code == 0, result.stderr
    assert report["account"]["kills"] == {"asked": 2, "landed": 2, "seed": 3}
    assert not broken(report)
    assert no_schedule_is_left(cli)
    times = recorded(cli)
    assert len(times) == len(set(times)) >= 3
    if backfill == "true":
        assert gaps(times) == {1.0}


def crash_and_stay_away(cli: Cli, *flags: str) -> list[datetime]:
    """Crash after the first tick and stay down for three more; the ticks that ran before."""
    crashed = cli("run", "heartbeat", "--run-id", "h", "--crash-after", "1", *flags)
    assert crashed.code == -9
    before = recorded(cli)
    assert before
    await_ticks_pass(cli, 4)
    assert recorded(cli) == before
    return before


def test_ticks_missed_while_it_was_down_are_counted(cli: Cli) -> None:
    before = crash_and_stay_away(cli)

    result = cli("resume", "h", "--json")

    report = result.json
    assert result.code == 0, result.stderr
    figures = report["account"]["heartbeat"]
    assert figures["missed"] >= 3
    assert figures["made_up"] == 0
    assert figures["ran"] == len(recorded(cli)) >= 3
    assert "missed" in {row["came"] for row in report["account"]["ticks"]}
    promises = held(report)
    assert promises.pop("every_tick") is None
    assert all(promises.values())
    assert recorded(cli)[: len(before)] == before
    assert no_schedule_is_left(cli)


def test_with_backfill_ticks_missed_while_it_was_down_run_exactly_once(cli: Cli) -> None:
    before = crash_and_stay_away(cli, "--set", "backfill=true")

    result = cli("resume", "h", "--json")

    report = result.json
    assert result.code == 0, result.stderr
    assert report["account"]["heartbeat"]["missed"] == 0
    assert report["account"]["heartbeat"]["made_up"] >= 3
    assert all(held(report).values())
    times = recorded(cli)
    assert times[: len(before)] == before
    assert gaps(times) == {1.0}
    assert no_schedule_is_left(cli)


def test_a_kill_before_the_first_tick_loses_none_with_backfill(cli: Cli) -> None:
    # DBOS itself would have nothing to go back to: it notes the last tick that fired.
    process = cli.start(
        "run", "heartbeat", "--run-id", "h", "--set", "backfill=true", "--set", "every_s=4",
        "--set", "ticks=1",
    )  # fmt: skip
    cli.await_row("SELECT 1 FROM aexp.events WHERE event = 'schedule.began'")
    kill(process)
    [(began,)] = cli.query("SELECT data->>'at' FROM aexp.events WHERE event = 'schedule.began'")
    await_ticks_pass(cli, 5)

    result = cli("resume", "h", "--json")

    assert result.code == 0, result.stderr
    assert held(result.json)["every_tick"] is True
    first = recorded(cli)[0] - datetime.fromisoformat(began)
    assert timedelta(0) < first <= timedelta(seconds=4)


FAIL_THE_THIRD = """
    CREATE SEQUENCE public.ticks;
    CREATE FUNCTION public.fail_the_third() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('public.ticks') = 3 THEN
            RAISE EXCEPTION 'not now';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER fail_the_third BEFORE INSERT ON dbos.workflow_status
        FOR EACH ROW WHEN (NEW.name = 'heartbeat.beat') EXECUTE FUNCTION public.fail_the_third();
"""


@pytest.mark.parametrize(("backfill", "missed"), [("false", 1), ("true", 0)])
def test_a_tick_that_dbos_failed_to_fire_is_made_up_for_at_the_end(
    cli: Cli, backfill: str, missed: int
) -> None:
    # DBOS logs the error and goes on with the next tick.
    cli.query(FAIL_THE_THIRD)

    result = cli(
        "run", "heartbeat", "--set", "ticks=4", "--set", f"backfill={backfill}", "--json"
    )  # fmt: skip

    assert result.code == 0, result.stderr
    assert "not now" in result.stderr
    assert result.json["account"]["heartbeat"]["missed"] == missed
    assert not broken(result.json)
    assert gaps(recorded(cli)) == ({1.0, 2.0} if missed else {1.0})


@pytest.mark.parametrize("backfill", ["false", "true"])
def test_sigterm_drains_and_resume_goes_on(cli: Cli, backfill: str) -> None:
    process = cli.start(
        "run", "heartbeat", "--run-id", "h", "--set", "ticks=5", "--set", f"backfill={backfill}"
    )
    cli.await_row(EVERY_TICK)
    process.send_signal(signal.SIGTERM)
    result = cli.wait(process)

    assert result.code == 130, result.stderr
    assert "`aexp resume h` goes on" in result.error
    statuses = cli.query("SELECT DISTINCT status FROM dbos.workflow_status")
    assert {status for (status,) in statuses} <= {"SUCCESS", "PENDING", "ENQUEUED"}

    resumed = cli("resume", "h", "--json")
    assert resumed.code == 0, resumed.stderr
    assert [process["ended"] for process in resumed.json["processes"]] == [
        "interrupted",
        "completed",
    ]
    assert resumed.json["result"]["ticks"] == len(recorded(cli)) >= 5
    assert not broken(resumed.json)
    assert no_schedule_is_left(cli)


@pytest.mark.parametrize("backfill", ["false", "true"])
def test_a_kill_while_the_schedule_is_removed_leaves_none(cli: Cli, backfill: str) -> None:
    process = cli.start(
        "run", "heartbeat", "--run-id", "h", "--set", "ticks=1", "--set", f"backfill={backfill}"
    )
    cli.await_row("SELECT 1 FROM dbos.workflow_schedules WHERE status = 'PAUSED'")
    kill(process)

    result = cli("resume", "h", "--json")

    assert result.code == 0, result.stderr
    assert not broken(result.json)
    assert no_schedule_is_left(cli)


def test_a_schedule_that_was_removed_does_not_come_back(cli: Cli) -> None:
    assert cli("run", "heartbeat", "--run-id", "h", "--set", "ticks=1").code == 0
    times = recorded(cli)
    # As it is when the process was killed after it had removed the schedule.
    cli.query(
        "UPDATE dbos.workflow_status SET status = 'PENDING', output = NULL"
        " WHERE workflow_uuid = 'h'"
    )
    cli.query("DELETE FROM dbos.operation_outputs WHERE function_name = 'tell'")
    cli.query(
        "CREATE FUNCTION public.never() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'it came back'; END $$"
    )
    cli.query(
        "CREATE TRIGGER never BEFORE INSERT ON dbos.workflow_schedules"
        " FOR EACH ROW EXECUTE FUNCTION public.never()"
    )

    result = cli("resume", "h", "--json")

    assert result.code == 0, result.stderr
    assert "it came back" not in result.stderr
    assert result.json["result"]["ticks"] == len(times)
    assert recorded(cli) == times


@pytest.mark.parametrize("other_id", ["new", "OLD"])
def test_a_run_that_nobody_resumes_is_ticked_by_nobody(cli: Cli, other_id: str) -> None:
    process = cli.start("run", "heartbeat", "--run-id", "old", "--set", "ticks=1000")
    cli.await_row(EVERY_TICK)
    kill(process)
    count = "SELECT count(*) FROM dbos.workflow_status WHERE schedule_name = 'heartbeat.old'"
    fired = cli.query(count)

    other = cli("run", "heartbeat", "--run-id", other_id, "--json")

    assert other.code == 0, other.stderr
    assert not broken(other.json)
    assert cli.query(count) == fired
    assert cli.query("SELECT schedule_name FROM dbos.workflow_schedules") == [("heartbeat.old",)]
    left = cli("audit", "old", "--json").json
    assert left["account"]["heartbeat"]["ran"] < 1000
    assert {"ends", "nothing_left"} <= set(broken(left))
    assert held(left)["schedule_removed"] is None


def test_planted_violations_are_found_in_the_database(cli: Cli) -> None:
    made = cli("run", "heartbeat", "--run-id", "h", "--set", "backfill=true", "--json")
    assert made.code == 0, made.stderr
    first, second = recorded(cli)[:2]

    cli.query(
        "INSERT INTO aexp.events SELECT * FROM aexp.events"
        " WHERE event = 'heartbeat.ticked' AND data->>'scheduled' = %s",
        [first.isoformat()],
    )
    doubled = cli("audit", "h", "--json")
    assert doubled.code == 1
    assert set(broken(doubled.json)) == {"at_most_once"}
    assert [row["scheduled"] for row in broken_rows(doubled.json)["at_most_once"]] == [
        first.isoformat(),
        first.isoformat(),
    ]
    assert "BROKEN" in cli("audit", "h").stdout

    cli.query(
        "DELETE FROM aexp.events WHERE event = 'heartbeat.ticked' AND data->>'scheduled' = %s",
        [second.isoformat()],
    )
    lost = broken_rows(cli("audit", "h", "--json").json)
    assert lost["every_tick"] == [{"scheduled": second.isoformat()}]

    cli.query(
        'UPDATE aexp.events SET data = data || \'{"scheduled": "2000-01-01T00:00:00.5+00:00"}\''
        " WHERE event = 'heartbeat.ticked'"
    )
    cli.query(
        "INSERT INTO dbos.workflow_schedules"
        " (schedule_id, schedule_name, workflow_name, schedule, context)"
        " VALUES ('s', 'heartbeat.h', 'heartbeat.beat', '* * * * * *', '')"
    )
    strayed = broken_rows(cli("audit", "h", "--json").json)
    assert strayed["schedule_removed"] == [{"schedule": "heartbeat.h"}]
    assert {"enough", "on_schedule"} <= set(strayed)


def test_an_interval_that_cron_cannot_tell_is_bad_input(cli: Cli) -> None:
    refused = cli("run", "heartbeat", "--set", "every_s=7")
    assert refused.code == 2
    assert "give 1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30 or 60 s, or as many minutes" in refused.error


@pytest.mark.parametrize("every_s", ["0", "45", "61", "90", "420", "3601", "7200", "1.5", "soon"])
def test_other_intervals_that_cron_cannot_tell_are_refused(every_s: str) -> None:
    with pytest.raises(InvalidParameter, match="every_s"):
        SCENARIO.from_text({"every_s": every_s})


@pytest.mark.parametrize("every_s", [1, 2, 5, 30, 60, 120, 900, 3600])
def test_a_schedule_ticks_at_every_multiple_of_its_interval(every_s: int) -> None:
    start = datetime(2026, 2, 28, 23, 58, 31, tzinfo=UTC)
    ticks = croniter(HeartbeatParameters(every_s=every_s).cron, start, second_at_beginning=True)
    first = int(start.timestamp()) // every_s + 1
    for number in range(first, first + 200):
        assert ticks.get_next(datetime) == datetime.fromtimestamp(number * every_s, UTC)
