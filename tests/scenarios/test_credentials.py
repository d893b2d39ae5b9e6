"""The scenario ``credentials``: real processes, real kills, and endpoints of every kind."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aexp.errors import InvalidParameter
from aexp.scenarios.credentials.promises import marker
from aexp.scenarios.credentials.secret_search import needles
from aexp.scenarios.credentials.workflow import SCENARIO
from tests.support.cli import Cli, broken, held
from tests.support.token_server import TOKEN, Endpoint

LEAKS = Path(__file__).parent.parent / "support" / "leaks.py"


def fetches(report: dict[str, Any]) -> list[int]:
    return [process["fetches"] for process in report["account"]["credentials"].values()]


def rows_with(cli: Cli, secret: str) -> int:
    """Rows of whatever table that hold ``secret``, counted apart from the scenario's own search."""
    found = 0
    tables = cli.query(
        "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('aexp', 'dbos')"
    )
    for (table,) in tables:
        for (line,) in cli.query(f"SELECT t::text FROM {table} AS t"):
            found += any(needle in line for needle in needles(secret))
    return found


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://host/token", "give the URL of a token endpoint, http:// or https://"),
        ("host/token", "give the URL of a token endpoint"),
        ("", "give the URL of a token endpoint"),
        ("http://", "give the URL of a token endpoint"),
        ("http://host:0/", "give the URL of a token endpoint"),
        ("http://host:99999/", "ort out of range"),
        ("http://[::1/", "nvalid IPv6 URL"),
        ("http://host/a b", "a URL has no blanks"),
        ("http://ada@host/", "leave user and password out"),
        ("http://ada:hunter2@host/", "leave user and password out"),
    ],
)
def test_a_token_url_that_is_none_is_refused(url: str, reason: str) -> None:
    with pytest.raises(InvalidParameter, match=reason):
        SCENARIO.from_text({"token_url": url})


def test_the_password_of_a_token_url_is_not_repeated(cli: Cli) -> None:
    result = cli("run", "credentials", "--set", "token_url=http://ada:hunter2@host/")
    assert result.code == 2
    assert "leave user and password out" in result.error
    assert "hunter2" not in result.stderr + result.stdout


def test_other_scenarios_do_not_pay_for_aiohttp() -> None:
    code = (
        "import aexp.cli.actions.run, aexp.scenarios.credentials.workflow, sys;"
        " assert 'aiohttp' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_describes_fifteen_users_with_one_fetch(cli: Cli) -> None:
    result = cli("run", "credentials", "--json")

    report = result.json
    assert result.code == 0, result.stderr
    assert report["result"] == {"described": 15, "failed": []}
    assert report["account"]["users"] == {
        "asked": 15,
        "described": 15,
        "reported_failed": 0,
        "never": 0,
    }
    assert fetches(report) == [1]
    assert set(held(report).values()) == {True}
    assert report["account"]["search"]["tables"] >= 10
    assert report["account"]["search"]["found"] == 0
    secret = marker(report["run_id"])
    assert secret not in result.stdout + result.stderr
    assert rows_with(cli, secret) == 0


def test_is_fetched_again_by_each_process_after_a_kill(cli: Cli) -> None:
    result = cli("run", "credentials", "--kills", "2", "--seed", "3", "--json")

    report = result.json
    assert result.code == 0, result.stderr
    assert [process["ended"] for process in report["processes"]] == [
        "killed by SIGKILL",
        "killed by SIGKILL",
        "completed",
    ]
    assert report["account"]["kills"] == {"asked": 2, "landed": 2, "seed": 3}
    assert report["account"]["users"]["described"] == 15
    assert max(fetches(report)) == 1
    assert fetches(report)[-1] == 1
    assert set(held(report).values()) == {True}
    assert rows_with(cli, marker(report["run_id"])) == 0


def test_a_process_that_killed_itself_leaves_its_fetch_on_record(cli: Cli) -> None:
    crashed = cli("run", "credentials", "--run-id", "mine", "--crash-after", "4")
    assert crashed.code == -9

    result = cli("resume", "mine", "--json")

    assert result.code == 0, result.stderr
    assert fetches(result.json) == [1, 1]
    assert [process["ended"] for process in result.json["processes"]] == ["vanished", "completed"]
    # Nobody knows what a process that was never heard has logged.
    assert {name for name, kept in held(result.json).items() if kept is not True} == {"secret_kept"}
    assert held(result.json)["secret_kept"] is None
    assert rows_with(cli, marker("mine")) == 0


def test_credentials_that_expire_are_fetched_again_and_counted(cli: Cli) -> None:
    result = cli(
        "run", "credentials", "--set", "ttl_s=0.02", "--set", "concurrency=1", "--json"
    )  # fmt: skip

    report = result.json
    assert result.code == 0, result.stderr
    (process,) = report["account"]["credentials"].values()
    # The pages come one after the other, each longer than credentials live.
    assert process["fetches"] >= 5
    assert process["after_expiry"] == process["fetches"] - 1
    assert set(held(report).values()) == {True}


def test_a_foreign_endpoint_is_asked_once_and_its_secret_is_searched_for(
    cli: Cli, foreign: Endpoint
) -> None:
    result = cli("run", "credentials", "--set", f"token_url={foreign.url}/good", "--json")

    report = result.json
    assert result.code == 0, result.stderr
    assert report["result"] == {"described": 15, "failed": []}
    assert foreign.asked == ["/good"]
    assert "Authorization" not in foreign.headers[0]
    assert set(held(report).values()) == {True}
    assert report["account"]["search"]["rows"] > 15
    assert TOKEN not in result.stdout + result.stderr
    assert rows_with(cli, TOKEN) == 0


def test_a_foreign_secret_whose_process_was_killed_is_not_judged(
    cli: Cli, foreign: Endpoint
) -> None:
    crashed = cli(
        "run", "credentials", "--run-id", "mine", "--crash-after", "4", "--set",
        f"token_url={foreign.url}/good",
    )  # fmt: skip
    assert crashed.code == -9

    result = cli("resume", "mine", "--json")

    assert result.code == 0, result.stderr
    assert fetches(result.json) == [1, 1]
    assert held(result.json)["secret_kept"] is None
    assert held(result.json)["fetched_sparingly"] is True
    pid = result.json["processes"][0]["pid"]
    assert f"process {pid} did not end in order" in result.json["account"]["unsearched"]


def test_a_process_that_is_stopped_in_order_searches_for_its_secret(
    cli: Cli, foreign: Endpoint
) -> None:
    process = cli.start(
        "run", "credentials", "--run-id", "mine", "--set", "pages=40", "--set",
        f"token_url={foreign.url}/good",
    )  # fmt: skip
    cli.await_row("SELECT 1 FROM dbos.operation_outputs OFFSET 4")
    process.terminate()
    assert cli.wait(process).code == 130

    result = cli("resume", "mine", "--json")

    assert result.code == 0, result.stderr
    assert [process["ended"] for process in result.json["processes"]] == [
        "interrupted",
        "completed",
    ]
    assert fetches(result.json) == [1, 1]
    assert set(held(result.json).values()) == {True}
    assert result.json["account"]["users"]["described"] == 120


@pytest.mark.parametrize("path", ["/500", "/hang", "/302"])
def test_when_no_page_can_be_described_the_run_ends_in_one_line_that_says_why(
    cli: Cli, foreign: Endpoint, path: str
) -> None:
    result = cli(
        "run", "credentials", "--set", f"token_url={foreign.url}{path}", "--set", "pages=2",
        "--set", f"deadline_s={0.2 if path == '/hang' else 60}", "--json",
    )  # fmt: skip

    report = result.json
    assert result.code == 1
    assert report["status"] == "ERROR"
    assert report["result"].startswith(
        "NothingDescribed: no page could be described: 3 of 3 users:"
        f" token endpoint {foreign.url}{path} "
    )
    assert "\n" not in report["result"]
    assert "Traceback" not in report["result"]
    assert {name: value for name, value in held(report).items() if value is not True} == {
        "ends": False,
        "fetched_sparingly": None,
        "refreshed": None,
        "secret_kept": None,
    }
    assert report["account"]["users"]["reported_failed"] == 6
    (process,) = report["account"]["credentials"].values()
    # What is given up so soon may not have come to be asked.
    unasked = process["failed_fetches"] - len(foreign.asked)
    assert unasked >= 0 if path == "/hang" else unasked == 0
    assert process["failed_fetches"] >= 3
    assert rows_with(cli, TOKEN) == 0


def test_a_page_that_fails_is_reported_and_the_rest_goes_on(cli: Cli, foreign: Endpoint) -> None:
    # All attempts of the one user of whichever page comes first.
    foreign.refusals = 3
    result = cli(
        "run", "credentials", "--set", f"token_url={foreign.url}/refuses-at-first", "--set",
        "users=1", "--set", "concurrency=1", "--json",
    )  # fmt: skip

    report = result.json
    assert result.code == 0, result.stderr
    assert report["result"]["described"] == 4
    (failed,) = report["result"]["failed"]
    assert failed["error"] == (
        f"1 of 1 users: token endpoint {foreign.url}/refuses-at-first failed (503): see its log"
    )
    assert report["account"]["users"]["reported_failed"] == 1
    assert set(held(report).values()) == {True}
    assert fetches(report) == [1]


def test_a_fetch_that_fails_is_tried_again(cli: Cli, foreign: Endpoint) -> None:
    foreign.refusals = 2
    result = cli(
        "run", "credentials", "--set", f"token_url={foreign.url}/refuses-at-first", "--set",
        "users=1", "--set", "concurrency=1", "--json",
    )  # fmt: skip

    assert result.code == 0, result.stderr
    assert result.json["result"] == {"described": 5, "failed": []}
    (process,) = result.json["account"]["credentials"].values()
    assert (process["fetches"], process["failed_fetches"]) == (1, 2)


def test_what_is_planted_in_the_tables_breaks_the_promises_of_an_audit(cli: Cli) -> None:
    assert cli("run", "credentials", "--run-id", "mine").code == 0
    # Fetched again at once, described never, and a token of the run in a row of any other.
    cli.query(
        "INSERT INTO aexp.events (run_id, event, workflow_id, pid, data)"
        " SELECT run_id, event, workflow_id, pid, data || '{\"fetch\": 2}' FROM aexp.events"
    )
    cli.query("DELETE FROM dbos.operation_outputs WHERE function_name = 'describe_user 2.3'")
    cli.query(
        "INSERT INTO aexp.counters (run_id, name, value) VALUES ('other', %s, 1)",
        [f"{marker('mine')}.and-more"],
    )

    result = cli("audit", "mine", "--json")

    assert result.code == 1
    found = broken(result.json)
    assert set(found) == {"fetched_sparingly", "secret_kept", "described_once"}
    assert found["fetched_sparingly"][0]["rows"][0]["pid"] == result.json["processes"][0]["pid"]
    assert found["secret_kept"][0]["rows"] == [
        {"table": "aexp.counters", "columns": "name", "row": "run_id=other, name=***.and-more"}
    ]
    assert found["described_once"][0]["rows"] == [{"user": "2.3"}]


@pytest.fixture
def leaks(cli: Cli) -> Cli:
    """The command in a folder that holds leaks.py."""
    shutil.copy(LEAKS, cli.folder / "leaks.py")
    return cli


def test_a_secret_in_a_checkpoint_is_found_and_told_with_its_row(leaks: Cli) -> None:
    result = leaks("run", "leaks.py:CHECKPOINT", "--json")

    report = result.json
    assert result.code == 1
    assert report["status"] == "SUCCESS"
    assert broken(report) == {
        "secret_kept": [
            {
                "summary": "a secret stands in 1 rows",
                "rows": [
                    {
                        "table": "dbos.operation_outputs",
                        "columns": "output",
                        "row": f"workflow_uuid={report['run_id']}, function_id=1",
                    }
                ],
            }
        ]
    }
    assert marker(report["run_id"]) not in result.stdout + result.stderr
    audited = leaks("audit", report["run_id"])
    assert audited.code == 1
    assert re.search(r"BROKEN +secret_kept", audited.stdout)


def test_a_foreign_secret_in_a_checkpoint_is_found_by_the_process_itself(
    leaks: Cli, foreign: Endpoint
) -> None:
    result = leaks("run", "leaks.py:CHECKPOINT", "--set", f"token_url={foreign.url}/good", "--json")

    assert result.code == 1
    assert list(broken(result.json)) == ["secret_kept"]
    assert result.json["account"]["search"]["found"] == 1
    assert TOKEN not in result.stdout + result.stderr


def test_a_secret_in_an_error_is_found(leaks: Cli) -> None:
    result = leaks("run", "leaks.py:ERROR", "--json")

    assert result.code == 1
    (anomaly,) = broken(result.json)["secret_kept"]
    # Of the step, and of the workflow that it failed.
    assert {(row["table"], row["columns"]) for row in anomaly["rows"]} >= {
        ("dbos.operation_outputs", "error"),
    }


@pytest.mark.parametrize("as_", ["json", "console"])
def test_a_secret_that_is_logged_is_masked_and_breaks_the_promise(leaks: Cli, as_: str) -> None:
    result = leaks("run", "leaks.py:LOG", "--json", "--log-format", as_)

    report = result.json
    assert result.code == 1
    pid = report["processes"][0]["pid"]
    # One of ours, one of a library's, one with a traceback.
    assert broken(report) == {
        "secret_kept": [
            {
                "summary": "a secret was logged, and masked in the line",
                "rows": [{"pid": pid, "lines": 3}],
            }
        ]
    }
    assert marker(report["run_id"]) not in result.stderr
    assert result.stderr.count("***") >= 3
