"""Wrong usage, one clear line each; and the outputs of the commands that only look."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aexp.cli.files import check_place
from aexp.database import DatabaseUrl
from aexp.errors import UsageError
from aexp.scenarios import BUILT_IN
from tests.support.cli import Cli


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
    shown = cli("describe", "resume").stdout
    for word in ("exactly-once, idempotent,", "integer 1 to 100,000,000", "nothing_lost"):
        assert word in shown


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
    shown = cli("run", "resume", "--set", "messages=2", "--run-id", "x").stdout
    for word in ("x  SUCCESS", "completed", "asked", "once", "workflow1", "held", "nothing_lost"):
        assert word in shown


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


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("missing/page.html", "there is no folder"),
        (".", "is a folder"),
        ("file/page.html", "there is no folder"),
        ("gone", "there is no folder"),
        ("round", "cannot write round"),
        # Where nothing can be made, not even by root.
        ("/proc/page.html", "cannot write in /proc"),
        ("n" * 300, "File name too long"),
    ],
)
def test_a_file_that_cannot_be_written_is_found_before_the_work(
    cli: Cli, place: str, reason: str
) -> None:
    (cli.folder / "file").write_text("")
    (cli.folder / "gone").symlink_to(cli.folder / "missing" / "page.html")
    (cli.folder / "round").symlink_to(cli.folder / "round")
    for command in (
        ["crash", "nested", "--report", place],
        ["bench", "publish", "--json", place],
        ["bench", "publish", "--report", place],
        # It would say that there is no such run.
        ["report", "nothing", "-o", place],
    ):
        refused = cli(*command)
        assert refused.code == 2, command
        assert reason in refused.error
    assert sorted(path.name for path in cli.folder.iterdir()) == ["file", "gone", "round"]


def test_looking_whether_a_file_can_be_written_leaves_it_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("mine")
    before = page.stat()
    check_place(page, "page.html")
    check_place(tmp_path / "new.html", "page.html")
    check_place(Path("/dev/null"), "page.html")
    assert page.read_text() == "mine"
    assert page.stat().st_mtime_ns == before.st_mtime_ns
    assert list(tmp_path.iterdir()) == [page]


def test_a_file_without_permission_is_found_before_the_work(short_folder: Path) -> None:
    short_folder.chmod(0o755)
    (closed := short_folder / "closed").mkdir(0o555)
    (opened := short_folder / "opened").mkdir()
    opened.chmod(0o777)
    (taken := opened / "page.html").write_text("theirs")
    taken.chmod(0o444)
    os.mkfifo(pipe := opened / "pipe", 0o444)
    with as_somebody():
        for path, reason in (
            (closed / "page.html", f"cannot write in {closed}: Permission denied"),
            (taken, f"cannot write {taken}: Permission denied"),
            (pipe, f"cannot write {pipe}: Permission denied"),
        ):
            with pytest.raises(UsageError, match=reason):
                check_place(path, "page.html")
        check_place(opened / "new.html", "page.html")
    assert taken.read_text() == "theirs"


@contextmanager
def as_somebody() -> Iterator[None]:
    """Without the rights of root, which may write anywhere."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)


def test_a_run_that_has_ended_is_told_again_and_nothing_runs(cli: Cli) -> None:
    ran = cli("run", "resume", "--run-id", "x", "--set", "messages=2", "--json")
    assert "nothing ran" not in ran.stderr
    for command in (["run", "resume", "--run-id", "x"], ["resume", "x"], ["resume", "--last"]):
        again = cli(*command, "--json")
        assert again.code == 0
        assert "aexp: nothing ran: run x has ended already" in again.stderr
        assert again.json == ran.json
    assert cli.query("SELECT count(*) FROM aexp.processes") == [(1,)]
    refused = cli("resume", "x", "--crash-after", "1")
    assert refused.code == 2
    assert "there is nothing to kill" in refused.error


@pytest.mark.nightly
def test_the_last_run_has_no_need_of_a_name(cli: Cli) -> None:
    for command in (["audit"], ["resume"], ["report", "-o", "page.html"]):
        none = cli(*command, "--last")
        assert none.code == 2
        assert "there is no run in this database" in none.error
        assert "name a run, or give --last" in cli(*command).error
        assert "not both" in cli(*command, "x", "--last").error
    for run_id in ("b", "a"):
        assert cli("run", "resume", "--run-id", run_id, "--crash-after", "1").code == -9

    audited = cli("audit", "--last", "--json")
    assert audited.json["run_id"] == "a"
    assert "aexp: the last run is a" in audited.stderr
    assert cli("report", "--last", "-o", "page.html").code == 0
    assert "a" in (cli.folder / "page.html").read_text()
    assert cli("resume", "--last", "--json").json["run_id"] == "a"
    assert cli("audit", "a").code == 0
    assert cli("audit", "b").code == 1
