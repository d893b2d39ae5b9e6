"""Any DBOS workflow runs as it is, and what cannot run is told in a line."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import pytest

from aexp.database import DatabaseUrl
from tests.support.cli import Cli, held
from tests.support.explorations import explore

pytestmark = pytest.mark.nightly


FLOWS = Path(__file__).parent.parent / "support" / "any_flows.py"


@pytest.fixture
def flows(cli: Cli) -> Cli:
    """The command in a folder that holds any_flows.py."""
    shutil.copy(FLOWS, cli.folder / "any_flows.py")
    return cli


def test_sync_workflows_that_wait_in_threads_are_not_short_of_them(flows: Cli) -> None:
    flows.environment = {"AEXP_EXECUTOR_THREADS": "2"}

    waited = flows("run", "any_flows.py:tree", "--kills", "3", "--json")
    talked = flows("run", "any_flows.py:talk", "--json")

    assert waited.code == 0, waited.stderr
    assert waited.json["result"] == 12
    assert waited.json["account"]["workflows"] == {"SUCCESS": 13}
    assert waited.json["account"]["kills"]["landed"] == 3
    assert waited.json["account"]["steps_that_ran_more_than_once"]["note"]["most_bodies"] > 1
    assert all(held(waited.json).values())
    assert talked.code == 0, talked.stderr
    assert talked.json["result"] == "hello"


def test_a_sync_workflow_that_sleeps_keeps_no_process_from_its_end(flows: Cli) -> None:
    flows.environment = {"AEXP_DRAIN_TIMEOUT_S": "0.2"}
    process = flows.start("run", "any_flows.py:sleeper", "--run-id", "s")
    flows.await_row("SELECT 1 FROM dbos.operation_outputs WHERE function_name = 'DBOS.sleep'")

    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    ended = flows.wait(process)

    assert time.monotonic() - began < 60
    assert ended.code == 130, ended.stderr
    assert flows.query("SELECT status FROM dbos.workflow_status") == [("PENDING",)]
    # As if the time had passed.
    flows.query(
        "UPDATE dbos.operation_outputs SET output = %s WHERE function_name = 'DBOS.sleep'",
        [json.dumps(time.time())],
    )
    assert flows("resume", "s", "--json").json["result"] == "awake"


def test_methods_and_arguments_of_any_kind(flows: Cli) -> None:
    served = flows("run", "any_flows.py:Shop.serve", "--set", "customers=1", "--json")
    opened = flows(
        "run", "any_flows.py:Shop.open", "--set", "first=1", "--set", "others=[2, 3]",
        "--set", "func=f", "--set", 'rest={"queue_name": "q"}', "--json",
    )  # fmt: skip

    assert served.code == 0, served.stderr
    assert served.json["result"] == ["corner-0"]
    assert opened.code == 0, opened.stderr
    assert opened.json["result"] == ["Shop", 1, [2, 3], "f", {"queue_name": "q"}]


@pytest.mark.parametrize(
    ("workflow", "error"),
    [
        ("streams", "TypeError: step words is an async generator, whose values no checkpoint can"),
        ("books", "AssertionError: a workflow was started inside step 'book'"),
        ("connects", "step connect returned dict, which no checkpoint can hold: cannot pickle"),
        ("locks", "workflow locks returned lock, which no checkpoint can hold: cannot pickle"),
        ("asserts", "AssertionError: an assertion of its own"),
        ("old", "(this code is for an older DBOS than 3.4, where it is a SQLAlchemyDatasource"),
        ("odd_key", "DataError: PostgreSQL text fields cannot contain NUL (0x00) bytes"),
    ],
)
def test_what_dbos_refuses_is_told_in_a_line(flows: Cli, workflow: str, error: str) -> None:
    result = flows("run", f"any_flows.py:{workflow}", "--json")

    assert result.code == 1
    assert result.json["status"] == "ERROR"
    assert error in result.json["result"]
    assert "\n" not in result.json["result"]
    assert "bug in aexp" not in result.stderr


def test_odd_values_are_told_as_json_and_as_text(flows: Cli) -> None:
    result = flows("run", "any_flows.py:odd", "--run-id", "odd", "--json")
    flows.environment = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    text = flows("audit", "odd")
    page = flows("report", "odd", "-o", "odd.html")

    assert result.code == text.code == page.code == 0, result.stderr + text.stderr + page.stderr
    told = json.loads(result.stdout, parse_constant=pytest.fail)["result"]
    assert told == {
        "nan": "NaN",
        "nul": "report\0.pdf",
        "half": "caf\udce9",
        "bytes": r"b'\xff'",
        "long": hex(10**9000),
    }


@pytest.mark.parametrize("workflow", ["tree", "Shop.serve"])
def test_a_sync_workflow_is_explored(server: DatabaseUrl, workflow: str) -> None:
    target = f"{FLOWS}:{workflow}"
    given = {"branches": "1"} if workflow == "tree" else {}

    exploration = explore(server, target, given, points=3)

    assert exploration.ok, [result.broken for result in exploration.broken]
    assert len(exploration.verified) == 3
