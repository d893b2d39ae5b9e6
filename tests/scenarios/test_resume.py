"""The scenario ``resume`` as its users run it: real processes, real SIGKILL, real PostgreSQL."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cli import Cli, held


def test_publishes_twenty_messages_once(cli: Cli) -> None:
    result = cli("run", "resume", "--json")

    report = result.json
    assert result.code == 0
    assert report["status"] == "SUCCESS"
    assert report["result"] == {"published": 20, "failed": []}
    assert report["account"]["messages"] == {
        "asked": 20,
        "once": 20,
        "more_than_once": 0,
        "never": 0,
        "reported_failed": 0,
    }
    assert [process["ended"] for process in report["processes"]] == ["completed"]
    assert all(held(report).values())
    assert cli.query(
        "SELECT channel, count(*), count(DISTINCT position) FROM aexp.publications"
        " GROUP BY channel ORDER BY channel"
    ) == [("workflow1", 10, 10), ("workflow2", 10, 10)]


@pytest.mark.parametrize("delivery", ["exactly-once", "idempotent"])
def test_survives_three_kills(cli: Cli, delivery: str) -> None:
    result = cli(
        "run", "resume", "--kills", "3", "--seed", "7", "--set", f"delivery={delivery}", "--json"
    )

    report = result.json
    assert result.code == 0, result.stderr
    assert [process["ended"] for process in report["processes"]] == [
        "killed by SIGKILL",
        "killed by SIGKILL",
        "killed by SIGKILL",
        "completed",
    ]
    assert report["account"]["messages"]["once"] == 20
    assert report["account"]["kills"] == {"asked": 3, "landed": 3, "seed": 7}
    for counter in report["account"]["counters"].values():
        assert (counter["local"], counter["global"], counter["durable"]) == (10, 10, 10)
    assert all(held(report).values())


def test_at_least_once_doubles_what_a_kill_caught_and_says_so(cli: Cli) -> None:
    # Killed by itself right after the first insert: whatever is in flight is not checkpointed.
    doubled = cli(
        "run", "resume", "--run-id", "doubled", "--crash-after", "1", "--set",
        "delivery=at-least-once", "--json",
    )  # fmt: skip
    assert doubled.code == -9

    result = cli("resume", "doubled", "--json")

    report = result.json
    assert result.code == 0
    assert report["account"]["messages"]["more_than_once"] >= 1
    assert report["account"]["messages"]["never"] == 0
    assert "at-least-once allows" in report["account"]["note"]
    assert all(held(report).values())


def test_resumes_after_it_killed_itself_and_publishes_nothing_again(cli: Cli) -> None:
    crashed = cli(
        "run", "resume", "--run-id", "mine", "--crash-after", "5", "--set", "chunk=2",
        "--set", "concurrency=2",
    )  # fmt: skip
    assert crashed.code == -9
    before = cli.query("SELECT position, pid FROM aexp.publications ORDER BY position")
    assert 5 <= len(before) < 20

    result = cli("run", "resume", "--run-id", "mine", "--json")

    report = result.json
    assert result.code == 0
    assert [process["ended"] for process in report["processes"]] == ["vanished", "completed"]
    assert report["account"]["messages"]["once"] == 20
    after = cli.query("SELECT position, pid FROM aexp.publications ORDER BY position")
    assert set(before) <= set(after)

    again = cli("resume", "mine", "--json")
    assert again.code == 0
    assert cli.query("SELECT position, pid FROM aexp.publications ORDER BY position") == after
    assert len(again.json["processes"]) == 2


def write_lines(path: Path, count: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            file.write(json.dumps({"n": number, "name": f"größe {number}"}, ensure_ascii=False))
            file.write("\n")


def test_publishes_the_lines_of_a_file_through_kills(cli: Cli, tmp_path: Path) -> None:
    write_lines(tmp_path / "in.jsonl", 20_000)

    result = cli(
        "run", "resume", "--set", "input=in.jsonl", "--set", "chunk=500", "--set", "latency_s=0.02",
        "--kills", "2", "--seed", "1", "--json",
    )  # fmt: skip

    report = result.json
    assert result.code == 0, result.stderr
    assert report["account"]["messages"]["once"] == 20_000
    assert all(held(report).values())
    assert cli.query("SELECT body::text FROM aexp.publications WHERE position = 12345") == [
        ('{"n": 12345, "name": "größe 12345"}',)
    ]


def test_a_changed_file_is_refused_and_restoring_it_goes_on(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    write_lines(path, 40)
    crashed = cli("run", "resume", "--run-id", "f", "--set", "input=in.jsonl", "--crash-after", "3")
    assert crashed.code == -9
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"n": 39', b'"n": 40'))

    refused = cli("resume", "f")

    assert refused.code == 2
    assert "has changed since the run began" in refused.error
    path.write_bytes(content)
    assert cli("resume", "f", "--json").json["account"]["messages"]["once"] == 40


def test_what_the_broker_refuses_is_retried_then_reported(cli: Cli) -> None:
    result = cli(
        "run", "resume", "--set", "fail_rate=0.6", "--set", "latency_s=0", "--json",
    )  # fmt: skip

    report = result.json
    messages = report["account"]["messages"]
    assert result.code == 0
    assert report["result"]["failed"], "at this rate some chunks fail three times"
    assert messages["reported_failed"] == len(report["result"]["failed"]) == messages["never"]
    assert messages["once"] == 20 - messages["never"]
    assert report["account"]["step_attempts"]["most_for_a_chunk"] == 3


@pytest.mark.parametrize("delivery", ["exactly-once", "idempotent", "at-least-once"])
def test_a_broker_that_always_refuses_loses_nothing_from_the_account(
    cli: Cli, delivery: str
) -> None:
    result = cli(
        "run", "resume", "--set", "fail_rate=1", "--set", "latency_s=0", "--set", "messages=3",
        "--set", f"delivery={delivery}", "--json",
    )  # fmt: skip

    report = result.json
    assert report["result"]["published"] == 0
    assert report["account"]["messages"]["reported_failed"] == 3
    assert report["account"]["step_attempts"]["bodies"] == 9
    assert held(report)["nothing_lost"]
