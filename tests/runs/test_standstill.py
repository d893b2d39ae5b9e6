"""A run in which nothing can move any more is ended with the reason; one that only waits is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from aexp.database import DatabaseUrl
from tests.support.cli import Cli
from tests.support.explorations import explore, struck

WAITS = Path(__file__).parent.parent / "support" / "waits.py"


@pytest.fixture
def waits(cli: Cli) -> Cli:
    """The command in a folder that holds waits.py."""
    shutil.copy(WAITS, cli.folder / "waits.py")
    return cli


UNSERVED = (
    "r-1 waits on queue 'mails', which no process has registered: call"
    " DBOS.register_queue('mails') at module level, not below `if __name__ =="
    " \"__main__\":`, or give a Scenario queues=… Queue('mails', shared=True)"
)
LEFT = "r-1 is PENDING, and nobody works on it: a CancelledError left its step `fetch`"
EXITED = "r-1 is PENDING, and nobody works on it: a SystemExit left its step `shut_down`"
FULL = (
    "r-1-1 waits for a place on queue 'narrow': its limit is 1, and r-1 waits there for something"
    " else"
)


@pytest.mark.parametrize(
    ("workflow", "reason"),
    [
        ("on_a_queue_of_nobody", UNSERVED),
        ("awaits_one_that_is_left", LEFT),
        ("awaits_one_that_exits", EXITED),
        ("calls_one_that_exits", EXITED),
        ("exits", "r is PENDING, and nobody works on it: a SystemExit left its body"),
        ("awaits_two", FULL),
    ],
)
def test_a_run_that_cannot_move_ends_with_the_reason(
    waits: Cli, workflow: str, reason: str
) -> None:
    result = waits("run", f"waits.py:{workflow}", "--run-id", "r")
    assert result.code == 1
    assert result.error == reason
    assert waits.query("SELECT status FROM dbos.workflow_status WHERE workflow_uuid = 'r'") == [
        ("PENDING",)
    ]


@pytest.mark.nightly
def test_a_run_that_waits_for_what_comes_late_goes_on(waits: Cli) -> None:
    result = waits("run", "waits.py:waits_in_turn", "--json")
    assert result.code == 0, result.stderr
    assert result.json["result"] == [
        "slept",
        "done",
        "an answer, yes",
        "quick",
        "quick quick",
        "gave up",
        "gave up",
    ]
    assert result.json["account"]["workflows"]["CANCELLED"] == 1


def test_what_nobody_has_sent_is_told_once_and_waited_for(waits: Cli) -> None:
    result = waits("run", "waits.py:is_unanswered", "--run-id", "r", "--json")
    assert (result.code, result.json["result"]) == (0, "None")
    (told,) = [event for event in result.events if event["event"] == "run.waits"]
    assert told["reason"] == "r waits for a message on topic 'go' that nobody has sent"
    assert told["gives_up_in_s"] >= 5


def test_what_the_run_without_a_fault_waits_for_breaks_an_exploration(server: DatabaseUrl) -> None:
    assert _baseline_waits(server, "on_a_queue_of_nobody").startswith("~-1 waits on queue 'mails'")


def test_an_event_that_nobody_sets_is_told_with_what_to_do(server: DatabaseUrl) -> None:
    told = _baseline_waits(server, "awaits_an_event")
    assert told.startswith("~ waits for event 'x' of workflow ~, which has not set it")
    assert "start what sets it from the workflow" in told
    assert "--deadline" not in told


def _baseline_waits(server: DatabaseUrl, workflow: str) -> str:
    """Return for what the run without a fault waits, which breaks its exploration."""
    result = explore(server, f"{WAITS}:{workflow}")
    assert result.results == []
    (alone,) = result.broken
    (broken,) = [verdict for verdict in alone.broken if verdict.name == "ends_alone"]
    (anomaly,) = broken.anomalies or ()
    assert anomaly.summary.startswith("without any fault, ")
    return anomaly.summary.removeprefix("without any fault, ")


def test_a_point_after_which_nothing_moves_is_broken_with_the_reason(server: DatabaseUrl) -> None:
    result = struck(
        server, f"{WAITS}:recovers_badly", "before:insert dbos.operation_outputs [~:1]#1"
    )
    (broken,) = [verdict for verdict in result.broken if verdict.name == "run_ends"]
    (anomaly,) = broken.anomalies or ()
    assert anomaly.summary.startswith("~ waits for a message on topic 'go' that nobody has sent")
    assert "start what sends it from the workflow, or from a Scenario" in anomaly.summary
    assert "give a shorter one by --set" in anomaly.summary
