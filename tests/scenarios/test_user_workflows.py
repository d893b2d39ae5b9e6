"""A user's own workflow or Scenario, with nothing else to write."""

from __future__ import annotations

import base64
import pickle
import shutil
import signal
from pathlib import Path

import pytest

from tests.conftest import TEMPLATE
from tests.support.cli import Cli, broken, held
from tests.support.explorations import PLANTED

FLOWS = Path(__file__).parent.parent / "support" / "flows.py"


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
    assert report["account"] == {
        "workflows": {"SUCCESS": 1}, "checkpoints": 2, "steps_that_ran_more_than_once": {}
    }  # fmt: skip


def test_a_bare_workflow_survives_kills_and_is_resumed_from_anywhere(flows: Cli) -> None:
    killed = flows(
        "run", "flows.py:checkout", "--set", "order=a", "--set", "items=5", "--kills", "3",
        "--run-id", "mine", "--json",
    )  # fmt: skip
    assert killed.code == 0, killed.stderr
    assert killed.json["account"]["kills"]["landed"] == 3
    assert killed.json["result"] == [f"a-{n}" for n in range(5)]
    assert all(held(killed.json).values())
    repeated = killed.json["account"]["steps_that_ran_more_than_once"]
    assert repeated == {
        "reserve": {"steps": 2, "most_bodies": 3, "most_processes": 3, "transactional": False}
    }
    assert not (flows.folder / ".aexp").exists()

    elsewhere = flows.folder / "elsewhere"
    elsewhere.mkdir()
    flows.folder = elsewhere
    shown = flows("audit", "mine").stdout.splitlines()
    (heading,) = (n for n, line in enumerate(shown) if line.startswith("steps that ran more than"))
    assert shown[heading + 1].split() == ["reserve", "2", "3", "3", "no"]
    assert flows("resume", "mine", "--json").code == 0


def test_a_step_that_runs_again_although_its_checkpoint_was_durable_is_found(cli: Cli) -> None:
    shutil.copy(FLOWS.parent / "losing.py", cli.folder / "losing.py")
    killed = cli("run", "losing.py:lose", "--run-id", "mine")
    assert killed.code == -signal.SIGKILL
    unread = cli("audit", "mine", "--json").json["promises"][-1]
    assert (unread["name"], unread["held"]) == ("checkpointed_once", None)
    assert "no recording of process" in unread["reason"]

    resumed = cli("resume", "mine", "--json")

    assert resumed.code == 1
    # The step that the process died in ran again as well, and rightly so.
    assert set(resumed.json["account"]["steps_that_ran_more_than_once"]) == {"insert", "meddle"}
    [found] = broken(resumed.json)["checkpointed_once"]
    [row] = found["rows"]
    assert (row["step"], row["step_id"], row["arguments"]) == ("insert", 1, "(0)")
    assert row["site"].startswith("losing.py:")


def test_the_steps_of_a_child_that_is_rewound_run_again_and_rightly_so(cli: Cli) -> None:
    result = cli("run", f"{PLANTED}/pairs/children.py:right_rewinding", "--json")
    assert result.code == 0, result.stderr
    assert set(result.json["account"]["steps_that_ran_more_than_once"]) == {"fetch"}
    assert held(result.json)["checkpointed_once"] is True


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
    assert list(broken(result.json)) == ["ends"]


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
        "reason": None,
        "anomalies": [
            {
                "summary": "an order was shipped to the wrong door",
                "rows": [{"order": 1, "door": "back"}],
            }
        ],
    }
    shown = flows("audit", result.json["run_id"])
    assert shown.code == 1
    assert "BROKEN" in shown.stdout
    assert "back" in shown.stdout


def test_a_schedule_lives_as_long_as_its_run(flows: Cli) -> None:
    result = flows("run", "flows.py:SCHEDULED", "--json")
    assert result.code == 0, result.stderr
    assert result.json["result"] >= 1
    assert flows.query("SELECT count(*) FROM dbos.workflow_schedules") == [(0,)]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("flows.py:plain", "decorate it with @DBOS.workflow()"),
        ("flows.py:Orders", "name an aexp Scenario or a function"),
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


def test_what_a_workflow_prints_stays_off_stdout(flows: Cli) -> None:
    for options in ([], ["--kills", "1"]):
        result = flows("run", "flows.py:chatty", *options, "--json")
        assert result.code == 0, result.stderr
        assert result.json["result"] == "said"
        assert "hello from the workflow" in result.stderr


def test_arguments_have_the_types_that_the_workflow_says(flows: Cli) -> None:
    given = flows("run", "flows.py:typed", "--set", "colour=blue", "--json")
    assert given.code == 0, given.stderr
    assert given.json["result"] == [2024, "Colour", "int", "list"]


def test_arguments_may_be_named_as_those_of_dbos(flows: Cli) -> None:
    result = flows(
        "run", "flows.py:names", "--set", "func=a", "--set", "queue_name=b", "--json"
    )  # fmt: skip
    assert result.code == 0, result.stderr
    assert result.json["result"] == "ab"


def test_a_result_that_is_no_json_is_told_as_text(flows: Cli) -> None:
    result = flows("run", "flows.py:odd", "--json")
    assert result.code == 0, result.stderr
    assert result.json["result"]["nan"] == "NaN"


def test_a_workflow_that_exits_is_one_clear_line(flows: Cli) -> None:
    result = flows("run", "flows.py:exiting")
    assert result.code == 1
    assert "SystemExit(3)" in result.error


def test_code_of_a_scenario_that_raises_is_named(flows: Cli) -> None:
    result = flows("run", "flows.py:FRAGILE")
    assert result.code == 1
    assert "resources of scenario 'fragile' raised ZeroDivisionError" in result.error


def test_a_schedule_that_a_crash_left_behind_touches_no_other_run(flows: Cli) -> None:
    process = flows.start("run", "flows.py:SCHEDULED", "--set", "ticks=1000", "--run-id", "old")
    flows.await_row("SELECT 1 FROM dbos.workflow_status WHERE name = 'flows.tick'")
    process.kill()
    process.communicate()
    assert flows.query("SELECT count(*) FROM dbos.workflow_schedules") == [(1,)]

    other = flows("run", "resume", "--set", "messages=40", "--set", "concurrency=1", "--json")

    assert other.code == 0, other.stderr
    assert other.json["account"]["workflows"] == {"SUCCESS": 41}


def test_a_run_id_that_is_a_child_workflow_is_refused(flows: Cli) -> None:
    assert flows("run", "flows.py:parent", "--run-id", "xx").code == 0
    [(child,)] = flows.query(
        "SELECT workflow_uuid FROM dbos.workflow_status WHERE workflow_uuid LIKE 'xx-%%' LIMIT 1"
    )
    refused = flows("run", "resume", "--run-id", child)
    assert refused.code == 2
    assert "is the id of a workflow" in refused.error


def test_a_module_in_the_folder_does_not_shadow_the_standard_library(flows: Cli) -> None:
    (flows.folder / "select.py").write_text("raise RuntimeError('shadowed')\n")
    result = flows("run", "flows.py:checkout", "--set", "order=1", "--kills", "1", "--json")
    assert result.code == 0, result.stderr


def test_garbage_is_collected_while_a_workflow_runs(flows: Cli) -> None:
    (flows.folder / "own.py").write_text(
        "import gc\n"
        "from dbos import DBOS\n"
        "@DBOS.workflow()\n"
        "async def collects():\n"
        "    return gc.isenabled()\n"
    )
    result = flows("run", "own.py:collects", "--json")
    assert result.code == 0, result.stderr
    assert result.json["result"] is True


def test_a_module_target_is_resumed_from_anywhere(flows: Cli) -> None:
    assert flows("run", "flows:checkout", "--set", "order=1", "--run-id", "m").code == 0
    elsewhere = flows.folder / "elsewhere"
    elsewhere.mkdir()
    flows.folder = elsewhere
    audited = flows("audit", "m", "--json")
    assert audited.code == 0, audited.stderr


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


def test_a_schedule_that_outlived_its_run_is_removed_by_a_resume(flows: Cli) -> None:
    assert flows("run", "flows.py:SCHEDULED", "--run-id", "s").code == 0
    # As if the process had been killed between the root's end and the removal.
    flows.query(
        "INSERT INTO dbos.workflow_schedules"
        " (schedule_id, schedule_name, workflow_name, schedule, context, application_name)"
        " SELECT 'left', 'every-second.s', 'flows.tick', '* * * * * *', %s, application_name"
        " FROM dbos.workflow_status WHERE workflow_uuid = 's'",
        # No context, as DBOS writes it.
        [base64.b64encode(pickle.dumps(None)).decode()],
    )

    assert flows("resume", "s").code == 0

    assert flows.query("SELECT count(*) FROM dbos.workflow_schedules") == [(0,)]


@pytest.mark.nightly
def test_a_program_that_launches_at_its_import_is_run_killed_audited_and_explored(
    cli: Cli,
) -> None:
    shutil.copy(FLOWS.parent / "launching.py", cli.folder / "launching.py")
    target = "launching.py:sell"
    # Whatever stood there: the database that is used is where the module looks.
    cli.environment = {"DBOS_SYSTEM_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}
    result = cli("run", target, "--run-id", "mine", "--kills", "1", "--json")
    assert result.code == 0, result.stderr
    assert result.json["result"] == {"mailed": [7, 8], "at_once": 2}
    assert "config.overridden" in result.stderr

    rows = cli.query(
        "SELECT DISTINCT serialization FROM dbos.workflow_status WHERE serialization IS NOT NULL"
    )
    assert rows == [("mine",)]
    audited = cli("audit", "mine", "--json")
    assert audited.json["result"] == result.json["result"]
    (held_off, launched) = [
        event["call"] for event in audited.events if event["event"] == "module.call_held_off"
    ]
    assert (held_off, launched) == ("DBOS.reset_system_database", "DBOS.launch")

    sync = "launching.py:sell_in_a_thread"
    explored = cli(
        "crash", sync, "--template", TEMPLATE, "--points", "1", "--sides", "before", "--json"
    )
    assert explored.code == 0, explored.stderr
    assert explored.json["verified"] == 1
    assert explored.json["outcome"] == {"mailed": [9], "at_once": 2}
