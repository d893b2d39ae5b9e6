"""A service that cannot be called in a test is a stub, which outlives every worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from aexp.crash.http.file import parse_routes
from aexp.crash.http.stub import HttpStub
from aexp.crash.judge.points import parse_point
from aexp.crash.request import ExplorationRequest
from aexp.crash.results import Exploration
from aexp.database import DatabaseUrl
from aexp.errors import UsageError
from tests.conftest import TEMPLATE
from tests.support.cli import Cli
from tests.support.explorations import PLANTED, explore

REQUESTS = f"{PLANTED}/requests.py"
AFTER_THE_CALL = "before:insert dbos.operation_outputs [~:1]#1"
ROUTES = """\
- {method: POST, path: /charges, status: 201, json: {id: ch_1}, idempotent: true}
- method: GET
  path: /charges/{charge}
  answers: [{json: {state: pending}}, {json: {state: done}}]
- {method: PUT, path: "/orders/{order}", status: 204}
"""
NO_KEY = "without an Idempotency-Key"


def explored(server: DatabaseUrl, workflow: str, monkeypatch: pytest.MonkeyPatch) -> Exploration:
    """An exploration of one point: the step has called, and its checkpoint is lost."""
    # For this process, which only looks what the module has.
    monkeypatch.setenv("SHOP_URL", "http://127.0.0.1:9")
    return explore(
        server, f"{REQUESTS}:{workflow}", replay=parse_point(AFTER_THE_CALL),
        http={"SHOP_URL": HttpStub(parse_routes(ROUTES, "shop.yaml"))},
    )  # fmt: skip


def test_a_charge_without_a_key_is_named_and_its_line_repeats_it(cli: Cli, tmp_path: Path) -> None:
    Path(tmp_path, "shop.yaml").write_text(ROUTES)
    done = cli(
        "crash", f"{REQUESTS}:wrong_charge", "--http", "SHOP_URL=shop.yaml", "--json",
        "--template", TEMPLATE, "--replay", AFTER_THE_CALL,
    )  # fmt: skip
    assert done.code == 1, done.stderr
    (finding,) = [each for each in done.json["findings"] if each["broken"]]
    assert (finding["code"], finding["promise"]) == ("AX025", "requests_once")
    assert finding["summary"] == (
        f'POST /charges {{"order": "A17"}} was sent twice {NO_KEY}, by step `charge`,'
        " in processes 1 and 2"
    )
    assert " --http SHOP_URL=shop.yaml " in finding["replay"]
    (repeated,) = done.json["repeated_requests"]
    assert (repeated["told"], repeated["expected"], repeated["most"]) == (NO_KEY, 1, 2)
    (step,) = done.json["repeated_steps"]
    assert step["touched"] == ["connection SHOP_URL"]


def test_a_key_that_is_made_in_the_step_is_as_bad_as_none_and_a_body_that_calls_too(
    server: DatabaseUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = explored(server, "wrong_key_of_request", monkeypatch)
    body, key = [finding for finding in found.findings if finding.is_broken]
    assert body.code.code == "AX024"
    assert "connects to SHOP_URL" in body.summary
    assert key.code.code == "AX025"
    assert "with another Idempotency-Key each time, by step" in key.summary
    assert key.where is not None
    assert key.where.startswith("requests.py:")


def test_a_key_that_follows_from_the_workflow_is_right(
    server: DatabaseUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = explored(server, "right_charge", monkeypatch)
    assert found.ok, found.as_json()["broken"]
    assert found.findings == []
    told = {each.request: each.told for each in found.repeated_requests}
    assert told == {
        "POST /charges": "the same Idempotency-Key",
        "GET /charges/ch_1": "GET may come twice",
        'PUT /orders/A17 {"charge":"ch_1"}': "PUT may come twice",
    }


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("SHOP_URL", "'SHOP_URL' is no NAME=FILE.yaml: give a variable"),
        ("SHOP_URL=none.yaml", "aexp: error: cannot read none.yaml: No such file or directory\n"),
        ("SHOP_URL=bad.yaml", "aexp: error: bad.yaml:2: the route has no path: write a list"),
        ("9=shop.yaml", "a stub needs an environment variable, and '9' is no name of a variable"),
        ("TMPDIR=shop.yaml", "and 'TMPDIR' has another meaning"),
    ],
)
def test_what_is_given_wrongly_is_wrong_usage(
    cli: Cli, tmp_path: Path, option: str, problem: str
) -> None:
    Path(tmp_path, "shop.yaml").write_text(ROUTES)
    Path(tmp_path, "bad.yaml").write_text("# nothing\n- method: GET\n")
    done = cli("crash", f"{PLANTED}/bugs.py:sound", "--http", option)
    assert done.code == 2
    assert problem in done.stderr
    assert "Traceback" not in done.stderr


def test_a_variable_has_one_meaning() -> None:
    with pytest.raises(UsageError, match="'DBOS_SYSTEM_DATABASE_URL' has another meaning"):
        ExplorationRequest(
            target="", scenario=None, parameters=None,  # type: ignore[arg-type]
            http={"DBOS_SYSTEM_DATABASE_URL": HttpStub([])},
        )  # fmt: skip
