"""A user's own workflow or Scenario, with nothing else to write."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli import Cli

FLOWS = Path(__file__).with_name("flows.py")


@pytest.fixture
def flows(cli: Cli) -> Cli:
    """The command in a folder that holds flows.py."""
    shutil.copy(FLOWS, cli.folder / "flows.py")
    return cli


def test_a_bare_workflow_runs_with_its_arguments_as_parameters(flows: Cli) -> None:
    result = flows("run", "flows.py:checkout", "--set", "order=7", "--set", "items=2", "--json")

    report = result.json
    assert result.code == 0, result.stderr
    assert report["result"] == ["7-0", "7-1"]
    assert report["parameters"] == {"order": "7", "items": 2, "on": "2026-01-01"}
    assert [promise["name"] for promise in report["promises"]] == [
        "ends",
        "nothing_left",
        "checkpointed_once",
    ]
    assert report["account"] == {"workflows": {"SUCCESS": 1}, "checkpoints": 2}


def test_a_bare_workflow_survives_kills_and_is_resumed_from_anywhere(flows: Cli) -> None:
    killed = flows(
        "run", "flows.py:checkout", "--set", "order=a", "--set", "items=30", "--kills", "2",
        "--run-id", "mine", "--json",
    )  # fmt: skip
    assert killed.code == 0, killed.stderr
    assert killed.json["account"]["kills"]["landed"] == 2
    assert killed.json["result"] == [f"a-{n}" for n in range(30)]

    elsewhere = flows.folder / "elsewhere"
    elsewhere.mkdir()
    flows.folder = elsewhere
    assert flows("audit", "mine", "--json").json["result"] == killed.json["result"]
    assert flows("resume", "mine", "--json").code == 0


def test_a_module_can_be_named_as_python_names_it(flows: Cli) -> None:
    result = flows("run", "flows:parent", "--json")
    assert result.code == 0, result.stderr
    assert result.json["result"] == [["o0-0", "o0-1"], ["o1-0", "o1-1"]]
    assert result.json["account"]["workflows"] == {"SUCCESS": 3}


def test_a_child_that_nobody_waits_for_is_waited_for(flows: Cli) -> None:
    result = flows("run", "flows.py:careless", "--json")
    assert result.code == 0, result.stderr
    assert result.json["account"]["workflows"] == {"SUCCESS": 2}


def test_a_workflow_that_fails_is_exit_code_1_with_its_error(flows: Cli) -> None:
    result = flows("run", "flows.py:failing", "--json")
    assert result.code == 1
    assert result.json["status"] == "ERROR"
    assert result.json["result"] == "ValueError: out of stock"
    assert [p["name"] for p in result.json["promises"] if not p["held"]] == ["ends"]


def test_a_scenario_brings_queues_resources_promises_and_account(flows: Cli) -> None:
    result = flows("run", "flows.py:SHIPPING", "--kills", "1", "--json")

    report = result.json
    assert result.code == 0, result.stderr
    assert report["scenario"] == "shipping"
    assert report["result"] == [0, 1, 2, 3, 4]
    assert report["account"]["orders"] == {"shipped": 5}
    assert report["promises"][-1]["name"] == "right_door"
    assert report["promises"][-1]["held"]


def test_a_broken_promise_is_exit_code_1_with_the_rows_that_show_it(flows: Cli) -> None:
    result = flows("run", "flows.py:SHIPPING", "--set", "broken=true", "--json")
    assert result.code == 1
    assert result.json["promises"][-1] == {
        "name": "right_door",
        "statement": "every order comes to the right door",
        "held": False,
        "anomalies": [
            {
                "summary": "an order was shipped to the wrong door",
                "rows": [{"order": 1, "door": "back"}],
            }
        ],
    }
    told = flows("audit", result.json["run_id"])
    assert told.code == 1
    assert "BROKEN" in told.stdout
    assert "back" in told.stdout


def test_a_schedule_lives_as_long_as_its_run(flows: Cli) -> None:
    result = flows("run", "flows.py:SCHEDULED", "--json")
    assert result.code == 0, result.stderr
    assert result.json["result"] >= 1
    assert flows.query("SELECT count(*) FROM dbos.workflow_schedules") == [(0,)]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("flows.py:plain", "decorate it with @DBOS.workflow()"),
        ("flows.py:blocking", "is not async"),
        ("flows.py:Orders", "name an aexp Scenario or an async function"),
        ("flows.py:chekout", "did you mean 'checkout'"),
        ("flows.py", "write flows.py:NAME"),
        ("nowhere.py:checkout", "no file"),
        ("nowhere:checkout", "does not import: ModuleNotFoundError"),
        ("broken.py:checkout", "does not import: ZeroDivisionError"),
        ("exits.py:checkout", "does not import: SystemExit"),
    ],
)
def test_what_is_no_workflow_is_one_clear_line(flows: Cli, target: str, reason: str) -> None:
    (flows.folder / "broken.py").write_text("1 / 0\n")
    (flows.folder / "exits.py").write_text("raise SystemExit(3)\n")
    result = flows("run", target)
    assert result.code == 2
    assert reason in result.error
    assert result.stdout == ""


def test_a_module_that_makes_its_own_dbos_runs_on_ours(flows: Cli) -> None:
    (flows.folder / "own.py").write_text(
        "from dbos import DBOS\n"
        "DBOS(config={'name': 'own-app', 'system_database_url': 'sqlite:///own.sqlite'})\n"
        "@DBOS.workflow()\n"
        "async def mine() -> str:\n"
        "    return DBOS.workflow_id\n"
    )
    result = flows("run", "own.py:mine", "--run-id", "x", "--json")
    assert result.code == 0, result.stderr
    assert result.json["result"] == "x"
    assert not (flows.folder / "own.sqlite").exists()
