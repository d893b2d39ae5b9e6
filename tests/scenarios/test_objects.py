"""The scenario ``objects`` as its users run it: real folders, a real S3 API, real SIGKILL."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support import object_store
from tests.support.cli import Cli, broken, held
from tests.support.folders import make_folder
from tests.support.object_store import SECRET, Answer, environment


def catalogue(cli: Cli) -> dict[str, int]:
    rows = cli.query("SELECT key, size FROM aexp.objects")
    assert len(rows) == len({key for key, _ in rows})
    return dict(rows)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with object_store.moto() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def bucket(s3: str) -> str:
    """A bucket of more objects than one request lists."""
    object_store.put(s3, "many")
    for number, key in enumerate(object_store.keys(1200)):
        object_store.put(s3, f"many/{key}", bytes(number % 5))
    object_store.put(s3, "many/elsewhere/x")
    return "s3://many"


def test_catalogues_the_standard_library(cli: Cli) -> None:
    result = cli("run", "objects", "--json")

    report = result.json
    assert result.code == 0, result.stderr
    assert all(held(report).values())
    assert report["result"]["failed"] == []
    assert 1 <= report["result"]["pages"] <= 50
    found = catalogue(cli)
    assert report["result"]["catalogued"] == len(found)
    assert report["account"]["objects"]["catalogued"] == len(found)
    assert (
        found["asyncio/__init__.py"]
        == Path(os.__file__).with_name("asyncio").joinpath("__init__.py").stat().st_size
    )
    assert not any(key.startswith("site-packages/") for key in found)
    assert {row["prefix"] for row in report["account"]["prefixes"]} >= {"(top level)"}


@pytest.mark.parametrize("seed", ["3", "8"])
def test_survives_kills(cli: Cli, seed: str) -> None:
    result = cli("run", "objects", "--kills", "2", "--seed", seed, "--json")

    report = result.json
    assert result.code == 0, result.stderr
    assert report["account"]["kills"] == {"asked": 2, "landed": 2, "seed": int(seed)}
    assert all(held(report).values())
    assert len(catalogue(cli)) == report["result"]["catalogued"]


def test_catalogues_a_bucket_through_kills(cli: Cli, s3: str, bucket: str) -> None:
    asked: list[str] = []

    def watch(path: str) -> None:
        asked.append(path)

    with object_store.proxy(s3, watch) as endpoint:
        result = replace(cli, environment=environment(endpoint))(
            "run", "objects", "--set", f"url={bucket}", "--set", "page=90", "--kills", "2",
            "--seed", "5", "--json",
        )  # fmt: skip

    report = result.json
    assert result.code == 0, result.stderr
    assert report["account"]["kills"]["landed"] == 2
    assert report["result"] == {"catalogued": 1201, "pages": 14, "skipped": 0, "failed": []}
    assert all(held(report).values())
    expected = {key: number % 5 for number, key in enumerate(object_store.keys(1200))}
    assert catalogue(cli) == {**expected, "elsewhere/x": 0}
    assert cli.query("SELECT count(*) FROM aexp.objects WHERE etag IS NULL") == [(0,)]
    # Each page asks for its own range and for no more of the bucket.
    after = {parse_qs(urlsplit(path).query).get("start-after", [""])[0] for path in asked}
    assert len(after) == 14
    assert cli.query("SELECT count(*) FROM aexp.runs WHERE runs::text ~ %s", [SECRET]) == [(0,)]
    assert SECRET not in result.stdout + result.stderr


def test_catalogues_what_is_below_a_prefix(cli: Cli, s3: str) -> None:
    object_store.put(s3, "odd")
    # The marker of a folder, "data/", is told as "data", behind what its name sorts before.
    names = ["in here/data/", "in here/data-old/x", "in here/data/x", "in here/ü%20", "in her/no"]
    for name in names:
        object_store.put(s3, f"odd/{name}", b"1")

    result = replace(cli, environment=environment(s3))(
        "run", "objects", "--set", "url=s3://odd/in here/", "--set", "page=1", "--json"
    )

    assert result.code == 0, result.stderr
    assert all(held(result.json).values())
    assert result.json["result"]["skipped"] == 0
    assert set(catalogue(cli)) == {"data", "data-old/x", "data/x", "ü%20"}


def test_catalogues_samples_in_memory(cli: Cli) -> None:
    result = cli(
        "run", "objects", "--set", "url=memory:", "--set", "exclude=logs,archive/2023",
        "--kills", "1", "--json",
    )  # fmt: skip

    assert result.code == 0, result.stderr
    assert all(held(result.json).values())
    assert len(catalogue(cli)) == 900
    assert result.json["result"]["pages"] == 20


def test_catalogues_a_folder_with_odd_names(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "odd ü%20#?"
    expected = make_folder(folder)
    (folder / "empty").mkdir()
    (folder / "to a file").symlink_to("50%")
    (folder / "to a folder").symlink_to("a")
    (folder / "nowhere").symlink_to("gone")
    # What obstore takes for an upload of its own that is not complete.
    (folder / "upload#7").write_text("")
    (folder / "#7").write_text("")

    result = cli("run", "objects", "--set", f"url={folder.name}", "--set", "page=2", "--json")

    assert result.code == 0, result.stderr
    assert all(held(result.json).values())
    assert catalogue(cli) == {**expected, "to a file": 2, "to a folder/b": 5}


def test_an_empty_folder_has_an_empty_catalogue(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    result = cli("run", "objects", "--set", "url=empty", "--json")

    assert result.code == 0, result.stderr
    assert result.json["result"] == {"catalogued": 0, "pages": 0, "skipped": 0, "failed": []}


def test_resumes_from_another_working_folder(cli: Cli, tmp_path: Path) -> None:
    expected = make_folder(tmp_path / "things")
    crashed = cli(
        "run", "objects", "--run-id", "mine", "--set", "url=things", "--set", "page=1",
        "--set", "concurrency=1", "--crash-after", "3",
    )  # fmt: skip
    assert crashed.code == -9
    assert 0 < len(catalogue(cli)) < len(expected)
    (tmp_path / "other").mkdir()

    result = replace(cli, folder=tmp_path / "other")("resume", "mine", "--json")

    assert result.code == 0, result.stderr
    assert [process["ended"] for process in result.json["processes"]] == ["vanished", "completed"]
    assert all(held(result.json).values())
    assert catalogue(cli) == expected


def test_never_begins_more_pages_than_the_limits_allow(cli: Cli) -> None:
    result = cli(
        "run", "objects", "--set", "url=memory:", "--set", "page=150", "--set", "starts=3",
        "--set", "period_s=0.5", "--set", "concurrency=2", "--json",
    )  # fmt: skip

    report = result.json
    assert result.code == 0, result.stderr
    assert report["account"]["objects"]["pages"] == 10
    assert all(held(report).values())
    assert 1 <= report["account"]["rate"]["most_in_a_period"] <= 3
    assert 1 <= report["account"]["concurrency"]["most_at_once"] <= 2
    [(first, last)] = cli.query(
        "SELECT min(started_at_epoch_ms), max(started_at_epoch_ms) FROM dbos.workflow_status"
        " WHERE name = 'objects.list_page'"
    )
    # The fourth three of ten begin after three full periods.
    assert last - first >= 1500


DELETING = """
import dataclasses
from pathlib import Path

from aexp.scenarios.objects import workflow as objects
from aexp.scenarios.objects.stores import Store

page = Store.page


async def page_of_a_changing_folder(self, after, last):
    Path(self.folder, "plain").unlink(missing_ok=True)
    # In one go: another page may be listed at this very moment.
    Path("a-new").write_bytes(b"new")
    Path("a-new").replace(Path(self.folder, "a-new"))
    return await page(self, after, last)


Store.page = page_of_a_changing_folder
SCENARIO = dataclasses.replace(objects.SCENARIO, name="deleting")
"""


def test_an_object_deleted_since_the_plan_is_a_counted_skip(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "deleting.py").write_text(DELETING)
    expected = make_folder(tmp_path / "things")

    # Apart, so that what is new does not make up for what is gone.
    result = cli("run", "deleting.py:SCENARIO", "--set", "url=things", "--set", "page=1", "--json")

    assert result.code == 0, result.stderr
    assert result.json["result"]["skipped"] == 1
    assert result.json["account"]["objects"]["skipped"] == 1
    assert all(held(result.json).values())
    del expected["plain"]
    assert catalogue(cli) == {**expected, "a-new": 3}


def test_a_page_that_keeps_failing_is_retried_and_reported_and_the_rest_goes_on(
    cli: Cli, s3: str, bucket: str
) -> None:
    keys = sorted([*object_store.keys(1200), "elsewhere/x"])

    def mood(path: str) -> Answer | None:
        after = parse_qs(urlsplit(path).query).get("start-after", [""])[0]
        return (403, object_store.error("AccessDenied")) if after == keys[399] else None

    with object_store.proxy(s3, mood) as endpoint:
        result = replace(cli, environment=environment(endpoint))(
            "run", "objects", "--set", f"url={bucket}", "--set", "page=200", "--json"
        )

    report = result.json
    assert result.code == 0, result.stderr
    assert report["result"]["catalogued"] == 1001
    [failed] = report["result"]["failed"]
    assert "access is denied" in failed.pop("error")
    assert failed == {"page": 2, "after": keys[399], "last": keys[599], "objects": 200}
    assert report["account"]["objects"]["failed_pages"] == 1
    assert report["account"]["attempts"] == {"bodies": 9, "restarts": 0, "retries": 2}
    assert all(held(report).values())
    assert set(catalogue(cli)) == {*keys[:400], *keys[600:]}


def test_a_run_of_which_every_page_fails_ends_in_error(cli: Cli, s3: str) -> None:
    object_store.put(s3, "few")
    object_store.put(s3, "few/a")
    object_store.put(s3, "few/b")
    requests = itertools.count(1)

    def mood(path: str) -> Answer | None:
        # The look at the store before the run, and the plan.
        return None if next(requests) <= 2 else (503, object_store.error("SlowDown"))

    with object_store.proxy(s3, mood) as endpoint:
        result = replace(cli, environment=environment(endpoint))(
            "run", "objects", "--set", "url=s3://few", "--json"
        )

    assert result.code == 1
    assert result.json["status"] == "ERROR"
    assert "none of 2 pages could be listed" in result.json["result"]
    assert "SlowDown" in result.json["result"]
    assert held(result.json)["none_missing"] is None
    assert result.json["account"]["unchecked"]


def test_an_audit_reports_what_was_planted(cli: Cli, tmp_path: Path) -> None:
    make_folder(tmp_path / "things")
    ran = cli("run", "objects", "--run-id", "r", "--set", "url=things", "--set", "page=1",
              "--set", "starts=15", "--json")  # fmt: skip
    assert all(held(ran.json).values())
    assert ran.code == 0

    cli.query("INSERT INTO aexp.objects SELECT * FROM aexp.objects WHERE key = 'a-b'")
    cli.query("DELETE FROM aexp.objects WHERE key = 'plain'")
    cli.query("UPDATE aexp.objects SET size = 77 WHERE key = '50%%'")
    # A page more than may be at work, and be begun.
    cli.query(
        "INSERT INTO dbos.workflow_status (workflow_uuid, status, name, application_version,"
        " started_at_epoch_ms, completed_at, priority) SELECT workflow_uuid || number, status,"
        " name, application_version, started_at_epoch_ms, completed_at + 1000, priority"
        " FROM dbos.workflow_status, generate_series(1, 11) AS number WHERE workflow_uuid LIKE"
        " 'r.%%.0'"
    )
    cli.query(
        "INSERT INTO aexp.ledger (run_id, workflow_id, step, pid, executor_id, step_id,"
        " began_at, checkpointed) SELECT run_id, workflow_id || number, step, pid, executor_id,"
        " step_id, began_at, false FROM aexp.ledger, generate_series(1, 11) AS number"
        " WHERE workflow_id LIKE 'r.%%.0'"
    )
    audited = cli("audit", "r", "--json")

    assert audited.code == 1
    found = {
        name: (anomalies[0]["summary"], anomalies[0]["rows"])
        for name, anomalies in broken(audited.json).items()
    }
    summary, [row] = found.pop("each_once")
    assert (row["key"], row["times"]) == ("a-b", 2)
    assert "1 objects are in the catalogue more than once" in summary
    summary, [row] = found.pop("none_missing")
    assert row["key"] == "plain"
    summary, [row] = found.pop("unaltered")
    assert (row["key"], row["size"], row["catalogued_size"]) == ("50%", 2, 77)
    summary, rows = found.pop("rate_kept")
    assert "26 pages were begun within 10 s, 15 may be" in summary
    assert len(rows) == 20
    summary, rows = found.pop("concurrency_kept")
    assert "pages were at work at once, 10 may be" in summary
    assert len(rows) > 10
    assert found == {}


def test_without_the_store_an_audit_says_what_it_cannot_tell(cli: Cli, tmp_path: Path) -> None:
    make_folder(tmp_path / "things")
    cli("run", "objects", "--run-id", "r", "--set", "url=things")
    shutil.rmtree(tmp_path / "things")

    audited = cli("audit", "r", "--json")

    assert audited.code == 0
    assert held(audited.json)["none_missing"] is None
    assert held(audited.json)["unaltered"] is None
    assert held(audited.json)["each_once"] is True
    assert "was not compared with the store" in audited.json["account"]["unchecked"]


def test_an_audit_counts_what_changed_since(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "things"
    make_folder(folder)
    cli("run", "objects", "--run-id", "r", "--set", "url=things")
    (folder / "plain").unlink()
    (folder / "50%").write_bytes(b"longer than it was")
    (folder / "new").write_bytes(b"")
    os.utime(folder / "new", (0, 0))

    audited = cli("audit", "r", "--json")

    assert audited.code == 0, audited.stdout
    assert audited.json["account"]["since"] == {"appeared": 1, "gone": 1, "changed": 1}
