"""Wrong usage, one clear line each; and the outputs of the commands that only look."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from aexp.database import DatabaseUrl
from aexp.scenarios import BUILT_IN
from tests.cli import Cli


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["run", "resum"], "did you mean resume?"),
        (["run", "resume", "--set", "mesages=3"], "unknown parameter 'mesages'"),
        (["run", "resume", "--set", "messages=many"], "parameter messages='many'"),
        (["run", "resume", "--set", "messages=0"], "greater than or equal to 1"),
        (["run", "resume", "--set", "messages=-5"], "greater than or equal to 1"),
        (["run", "resume", "--set", "messages=null"], "give messages, or an input"),
        (["run", "resume", "--set", "delivery=twice"], "'at-least-once'"),
        (["run", "resume", "--set", "messages"], "write --set key=value"),
        (["run", "resume", "--set", "chunk=1", "--set", "chunk=2"], "set twice"),
        (["run", "resume", "--set", "input=a", "--set", "messages=3"], "exclude each other"),
        (["run", "resume", "--kills", "1", "--crash-after", "1"], "exclude each other"),
        (["run", "resume", "--kills", "-1"], "--kills"),
        (["run", "resume", "--run-id", "a.b"], "is not valid"),
        (["run", "resume", "--run-id", ""], "is not valid"),
        (["run", "resume", "--executor-id", ""], "setting executor_id"),
        (["run", "resume", "--database-url", "sqlite:///x"], "needs PostgreSQL"),
        (["run", "resume", "--database-url", "postgresql://u:hidden@h"], "names no database"),
        (["run", "resume", "--database-url", "nonsense"], "cannot be read"),
        (["resume", "nothing"], "no run 'nothing'"),
        (["audit", "nothing"], "no run 'nothing'"),
        (["describe", "nothing"], "unknown scenario"),
        (["frobnicate"], "No such command"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_one_line(
    cli: Cli, arguments: list[str], reason: str
) -> None:
    result = cli(*arguments)
    assert result.code == 2, result.stderr
    assert reason in result.error
    assert result.stdout == ""
    assert "hidden" not in result.stderr
    assert cli.query("SELECT count(*) FROM aexp.runs") == [(0,)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"", "is empty"),
        (b'{"a": 1}\nnot json\n', "line 2: not JSON"),
        (b'{"a": 1}\n[1]\n', "line 2: a JSON array, not an object"),
        (b'{"a": "\xff"}\n', "line 1: not UTF-8"),
    ],
)
def test_a_bad_input_file_is_exit_code_2_and_names_the_line(
    cli: Cli, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (cli.folder / "in.jsonl").write_bytes(content)
    result = cli("run", "resume", "--set", "input=in.jsonl")
    assert result.code == 2
    assert reason in result.error
    assert cli.query("SELECT count(*) FROM aexp.runs") == [(0,)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_input_file_without_permission(cli: Cli) -> None:
    path: Path = cli.folder / "in.jsonl"
    path.write_text("{}\n")
    path.chmod(stat.S_IWUSR)
    assert "Permission denied" in cli("run", "resume", "--set", "input=in.jsonl").error


def test_a_run_id_of_another_run_is_refused(cli: Cli) -> None:
    assert cli("run", "resume", "--run-id", "x", "--set", "messages=2").code == 0

    other = cli("run", "resume", "--run-id", "x", "--set", "messages=3")

    assert other.code == 2
    assert "messages=2, not 3" in other.error
    # Given again, or not at all, it is the same run.
    assert cli("run", "resume", "--run-id", "x", "--set", "messages=2").code == 0
    assert cli("run", "resume", "--run-id", "x").code == 0
    assert cli.query("SELECT count(*) FROM aexp.publications") == [(2,)]


def test_a_run_id_that_a_child_of_another_run_could_have_is_refused(cli: Cli) -> None:
    assert cli("run", "resume", "--run-id", "x-2", "--set", "messages=1").code == 0

    for run_id in ("x", "x-2-17"):
        refused = cli("run", "nested", "--run-id", run_id)
        assert refused.code == 2
        assert "could have workflows of the same id" in refused.error
    assert cli("run", "nested", "--run-id", "x-3", "--set", "pause_s=0").code == 0


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE aexp.alembic_version SET version_num = '9999'", "install the newer aexp"),
        ("ALTER DATABASE {name} SET default_transaction_read_only = on", "is read-only"),
        (
            "DROP TABLE aexp.alembic_version",
            "that aexp did not make",
        ),
    ],
)
def test_a_database_that_cannot_be_used_is_exit_code_3(
    cli: Cli, database: DatabaseUrl, statement: str, reason: str
) -> None:
    cli.query(statement.format(name=database.name))
    result = cli("run", "resume")
    assert result.code == 3
    assert reason in result.error


def test_debug_shows_the_traceback_too(cli: Cli) -> None:
    result = cli("resume", "nothing", "--debug")
    assert result.code == 2
    assert "Traceback" in result.stderr
    assert "aexp: error: no run 'nothing'" in result.stderr


def test_list_and_describe(cli: Cli) -> None:
    assert [scenario["name"] for scenario in cli("list", "--json").json] == sorted(BUILT_IN)
    described = cli("describe", "resume", "--json").json
    assert set(described["parameters"]["properties"]) == {
        "messages", "input", "chunk", "latency_s", "channels", "concurrency", "fail_rate",
        "delivery",
    }  # fmt: skip
    told = cli("describe", "resume").stdout
    for word in ("exactly-once, idempotent,", "integer 1 to 100,000,000", "nothing_lost"):
        assert word in told


def test_runs_and_audit_tell_the_same_as_the_run(cli: Cli) -> None:
    ran = cli("run", "resume", "--set", "messages=4", "--run-id", "x", "--json").json

    assert [run["run_id"] for run in cli("runs", "--json").json] == ["x"]
    audited = cli("audit", "x", "--json")
    assert audited.code == 0
    for key in ("status", "result", "parameters", "processes", "promises", "account"):
        assert audited.json[key] == ran[key]


def test_an_unfinished_run_is_audited_as_broken(cli: Cli) -> None:
    assert cli("run", "resume", "--run-id", "x", "--crash-after", "2").code == -9
    audited = cli("audit", "x", "--json")
    assert audited.code == 1
    broken = {promise["name"] for promise in audited.json["promises"] if not promise["held"]}
    assert {"ends", "nothing_left", "nothing_lost"} <= broken


def test_logs_are_json_lines_with_what_is_bound(cli: Cli) -> None:
    result = cli("run", "resume", "--set", "messages=2", "--run-id", "x", "--json")
    events = result.events
    assert len(events) == len(result.stderr.splitlines())
    published = [event for event in events if event["event"] == "publisher.chunk_published"]
    assert len(published) == 2
    for event in published:
        assert event["run_id"] == "x"
        assert event["scenario"] == "resume"
        assert event["executor_id"] == "local"
        assert event["workflow_id"].startswith("x.")
        assert event["severity"] == "INFO"
        assert event["logger"] == "aexp.publisher"
        assert event["timestamp"].endswith("Z")
        assert isinstance(event["pid"], int)


def test_the_account_for_people_names_what_happened(cli: Cli) -> None:
    told = cli("run", "resume", "--set", "messages=2", "--run-id", "x").stdout
    for word in ("x  SUCCESS", "completed", "asked", "once", "workflow1", "held", "nothing_lost"):
        assert word in told


def test_both_loops_work(cli: Cli) -> None:
    assert cli("run", "resume", "--set", "messages=2", "--loop", "asyncio", "--json").code == 0


def test_an_external_server_given_by_flag_and_by_file(cli: Cli, database: DatabaseUrl) -> None:
    cli.url = None
    flag = cli("run", "resume", "--set", "messages=1", "--database-url", database.libpq)
    assert flag.code == 0, flag.stderr
    (cli.folder / "dbos-config.yaml").write_text(
        f"name: aexp\nsystem_database_url: {database.libpq}\n"
    )
    assert cli("run", "resume", "--set", "messages=1").code == 0
    cli.url = database
    assert cli.query("SELECT count(*) FROM aexp.publications") == [(2,)]
    assert not (cli.folder / ".aexp").exists()


def test_looking_makes_no_database(cli: Cli, database: DatabaseUrl) -> None:
    missing = database.with_name("no_such_database")
    for command in (["runs"], ["audit", "x"], ["resume", "x"]):
        failed = cli(*command, "--database-url", missing.libpq)
        assert failed.code == 3
        assert "no database 'no_such_database'" in failed.error
    assert cli.query("SELECT 1 FROM pg_database WHERE datname = 'no_such_database'") == []


def test_looking_needs_no_more_than_reading(cli: Cli, database: DatabaseUrl) -> None:
    assert cli("run", "resume", "--run-id", "x", "--set", "messages=1").code == 0
    cli.query(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    assert cli("runs").code == 0
    assert cli("audit", "x").code == 0
