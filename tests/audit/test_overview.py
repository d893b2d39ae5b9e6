"""``aexp runs``: how each run stands, which an audit of it would say too."""

from __future__ import annotations

from collections.abc import Mapping

import anyio

from aexp.audit.overview import RunVerdict, judge_runs, list_standings
from aexp.database import DatabaseUrl
from aexp.database.connect import connected
from aexp.scenarios import find_scenario
from tests.support.cli import Cli, held

FLOWS = """
from aexp import Anomaly, Promise, Scenario, Parameters
from dbos import DBOS


@DBOS.workflow()
async def fine() -> int:
    return 1


@DBOS.workflow()
async def fails() -> int:
    raise ValueError("on purpose")


async def gather(connection, run, ending):
    return await connection.fetch("SELECT 1 FROM theirs")


LIAR = Scenario(
    name="liar", summary="Promises too much.", workflow=fine, parameters=Parameters,
    promises=[Promise("never", "it never ends well", lambda _: [Anomaly("it did")])],
)
FORGETFUL = Scenario(
    name="forgetful", summary="Loses its table.", workflow=fine, parameters=Parameters,
    gather=gather,
)
"""


def verdicts(cli: Cli) -> dict[str, tuple[str, str]]:
    listed = cli("runs", "--json")
    assert listed.code == 0, listed.stderr
    assert listed.stderr == ""
    return {run["run_id"]: (run["status"], run["verdict"]) for run in listed.json}


def test_each_run_has_its_status_and_the_verdict_of_an_audit(cli: Cli) -> None:
    (cli.folder / "flows.py").write_text(FLOWS)
    assert cli("run", "flows.py:fine", "--run-id", "fine").code == 0
    assert cli("run", "flows.py:fails", "--run-id", "fails").code == 1
    assert cli("run", "flows.py:LIAR", "--run-id", "liar").code == 1
    killed = cli("run", "resume", "--run-id", "killed", "--crash-after", "1")
    assert killed.code == -9

    assert verdicts(cli) == {
        "fine": ("SUCCESS", "held"),
        "fails": ("ERROR", "broken"),
        "liar": ("SUCCESS", "broken"),
        # An audit says what it has not done; but it can still go on.
        "killed": ("PENDING", "not judged"),
    }
    for run_id, (status, verdict) in verdicts(cli).items():
        audited = cli("audit", run_id, "--json")
        assert audited.json["status"] == status
        if verdict != "not judged":
            assert (False in held(audited.json).values()) is (verdict == "broken")
    shown = cli("runs").stdout.splitlines()
    assert shown[0].split()[:4] == ["run", "verdict", "status", "scenario"]
    assert [line.split()[:3] for line in shown[1:]] == [
        ["killed", "not", "judged"],
        ["liar", "BROKEN", "SUCCESS"],
        ["fails", "BROKEN", "ERROR"],
        ["fine", "held", "SUCCESS"],
    ]
    # It is judged when it has ended.
    assert cli("resume", "killed").code == 0
    assert verdicts(cli)["killed"] == ("SUCCESS", "held")


def test_a_run_that_nobody_can_judge_any_more_is_no_error(cli: Cli) -> None:
    (cli.folder / "flows.py").write_text(FLOWS)
    cli.query("CREATE TABLE theirs ()")
    assert cli("run", "flows.py:fine", "--run-id", "gone").code == 0
    assert cli("run", "flows.py:FORGETFUL", "--run-id", "forgetful").code == 0
    assert verdicts(cli)["forgetful"] == ("SUCCESS", "held")
    cli.query("DROP TABLE theirs")
    assert verdicts(cli)["forgetful"] == ("SUCCESS", "unknown")
    (cli.folder / "flows.py").unlink()
    assert verdicts(cli) == {
        "gone": ("SUCCESS", "unknown"),
        "forgetful": ("SUCCESS", "unknown"),
    }


def test_a_run_that_was_cancelled_or_has_something_left_to_do_is_not_judged(cli: Cli) -> None:
    for run_id in ("cancelled", "left", "scheduled", "unbegun"):
        assert cli("run", "resume", "--run-id", run_id, "--set", "messages=1").code == 0
    cli.query(
        "UPDATE dbos.workflow_status SET status = 'CANCELLED' WHERE workflow_uuid = 'cancelled'"
    )
    cli.query(
        "UPDATE dbos.workflow_status SET status = 'ENQUEUED'"
        " WHERE workflow_uuid <> 'left' AND application_version ="
        " (SELECT application_version FROM aexp.runs WHERE run_id = 'left')"
    )
    cli.query("DELETE FROM dbos.workflow_status WHERE workflow_uuid = 'unbegun'")
    assert verdicts(cli) == {
        "cancelled": ("CANCELLED", "not judged"),
        "left": ("SUCCESS", "not judged"),
        "scheduled": ("SUCCESS", "held"),
        "unbegun": ("NOT STARTED", "not judged"),
    }


def test_a_run_that_takes_too_long_is_unknown_and_the_others_are_told(
    cli: Cli, database: DatabaseUrl
) -> None:
    assert cli("run", "nested", "--run-id", "quick", "--set", "pause_s=0").code == 0
    assert cli("run", "resume", "--run-id", "slow", "--set", "messages=1").code == 0

    async def judge() -> Mapping[str, RunVerdict]:
        async with connected(database) as connection, connection.transaction():
            standings = await list_standings(connection, 5)
            # What only the slow one reads.
            await connection.execute("LOCK TABLE aexp.publications")
            return await judge_runs(database, standings, scenarios, patience_s=5.0)

    scenarios = {name: find_scenario(name)[1] for name in ("resume", "nested")}
    assert anyio.run(judge) == {"quick": "held", "slow": "unknown"}
