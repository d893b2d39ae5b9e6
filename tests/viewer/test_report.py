"""``aexp report`` on real runs: what the page carries, what hostile data does to it, bad input."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from aexp.database import DatabaseUrl
from aexp.database.connect import connect
from aexp.runs.store import get_run
from aexp.viewer import gather_timeline
from aexp.viewer.page import ASSETS, asset, view_json
from tests.conftest import TEMPLATE, scratch
from tests.support.cli import Cli, broken

HOSTILE = "</script><img src=x onerror=alert(1)><!--"

FLOW = f'''
from dbos import DBOS

HOSTILE = {HOSTILE!r}


def refuse():
    raise RuntimeError("not me")


class Grudge:
    """Can be pickled, and not unpickled."""

    def __reduce__(self):
        return refuse, ()


@DBOS.step(name=HOSTILE)
async def shout():
    return HOSTILE


@DBOS.step()
async def hold_a_grudge():
    return Grudge()


@DBOS.step()
async def fill():
    return "x" * 1_000_000


@DBOS.step()
async def fail():
    raise ValueError(HOSTILE)


@DBOS.workflow()
async def hostile(word: str = HOSTILE):
    await shout()
    await hold_a_grudge()
    await fill()
    try:
        await fail()
    except ValueError:
        pass
    return {{"said": word, "half": "\\ud800"}}
'''


class Reader(HTMLParser):
    """The elements of a page, and the text of its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scripts: list[str] = []
        self._script = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._script = tag == "script"
        if self._script:
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._script = False


def carried(page: str) -> Any:
    """The data that a page carries."""
    return json.loads(Reader(page).scripts[0])


def bars(data: Any, name: str) -> list[dict[str, Any]]:
    """The bars of this name, on all lanes."""
    columns = data["timeline"]["columns"]["bars"]
    rows = [row for lane in data["timeline"]["lanes"] for row in lane["bars"]]
    found = [dict(zip(columns, row, strict=True)) for row in rows]
    return [bar for bar in found if bar["name"] == name]


def report(cli: Cli, run_id: str) -> Any:
    """The data of the page of a run."""
    result = cli("report", run_id, "-o", "run.html")
    assert result.code == 0, result.stderr
    assert result.stdout == ""
    return carried((cli.folder / "run.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def ended(server: DatabaseUrl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseUrl]:
    """A database with an ended run, ``x``, for those who only look at it."""
    with scratch(server, TEMPLATE) as url:
        with Cli(folder=tmp_path_factory.mktemp("ended"), url=url) as cli:
            assert cli("run", "resume", "--set", "messages=1", "--run-id", "x").code == 0
        yield url


@pytest.fixture
def looking(ended: DatabaseUrl, tmp_path: Path) -> Iterator[Cli]:
    """The command on the database of the ended run, in the test's folder."""
    with Cli(folder=tmp_path, url=ended) as cli:
        yield cli


def test_a_run_with_kills_has_its_lanes_bars_and_kills(cli: Cli) -> None:
    ran = cli("run", "resume", "--kills", "2", "--seed", "7", "--run-id", "x", "--json").json

    data = report(cli, "x")

    for key in ("run_id", "scenario", "status", "parameters", "processes", "promises"):
        assert data["report"][key] == ran[key]
    assert data["report"]["ok"] is True
    timeline = data["timeline"]
    assert [life["kind"] for life in timeline["processes"]] == ["killed", "killed", "completed"]
    root, *chunks = timeline["lanes"]
    assert (root["workflow_id"], root["depth"], root["attempts"]) == ("x", 0, 3)
    # Those of fan_out say in their id alone whose they are.
    assert {lane["parent"] for lane in chunks} == {0}
    assert len(chunks) == 20
    published = bars(data, "publish")
    assert len(published) == 20
    for bar in published:
        life = timeline["processes"][bar["process"]]
        assert life["began"] <= bar["ended"] <= life["ended"]
        assert (bar["output"], bar["outcome"]) == ("1", "ok")
    assert timeline["truncated"] == {}
    assert timeline["ended_at"] > timeline["began_at"]


def test_what_a_kill_undid_is_shown_as_lost(cli: Cli) -> None:
    # It kills itself in the midst of the 20 that it publishes at a time.
    options = ["--set", "latency_s=0.5", "--set", "delivery=at-least-once"]
    assert cli("run", "resume", *options, "--run-id", "x", "--crash-after", "5").code == -9
    undone = cli.query(
        "SELECT (SELECT count(*) FROM aexp.ledger) - (SELECT count(*)"
        " FROM dbos.operation_outputs WHERE function_name = 'publish')"
    )[0][0]
    timeline = report(cli, "x")["timeline"]

    assert [life["kind"] for life in timeline["processes"]] == ["vanished"]
    lost = [row for lane in timeline["lanes"] for row in lane["attempted"]]
    fate = timeline["columns"]["attempted"].index("fate")
    assert len(lost) == undone > 0
    assert {row[fate] for row in lost} == {"lost"}

    assert cli("resume", "x").code == 0
    data = report(cli, "x")
    again = [row for lane in data["timeline"]["lanes"] for row in lane["attempted"]]
    assert len(again) == undone
    done = [bar["process"] for bar in bars(data, "publish")]
    assert len(done) == 20
    assert done.count(1) >= undone


def test_a_tree_of_workflows(cli: Cli) -> None:
    assert cli("run", "nested", "--set", "pause_s=0.01", "--run-id", "n").code == 0

    data = report(cli, "n")

    lanes = data["timeline"]["lanes"]
    assert [lane["depth"] for lane in lanes] == [0, 1, 2, 2, 1, 2, 2]
    for place, lane in enumerate(lanes):
        assert lane["parent"] is None if place == 0 else lane["parent"] < place
    directly = [lane["mode"] == "direct" for lane in lanes[1:]]
    assert directly == [True, True, False, False, True, False]
    assert {bar["kind"] for bar in bars(data, "DBOS.sleep")} == {"sleep"}
    assert {bar["kind"] for bar in bars(data, "DBOS.getResult")} == {"wait"}
    assert {bar["kind"] for bar in bars(data, "nested.child")} == {"start"}
    assert data["report"]["account"]["tree"]["children"]


def test_hostile_data_stays_text(cli: Cli) -> None:
    (cli.folder / "flow.py").write_text(FLOW, encoding="utf-8")
    ran = cli("run", "flow.py:hostile", "--run-id", "h")
    assert ran.code == 0, ran.stderr

    assert cli("report", "h", "-o", "run.html").code == 0
    page = (cli.folder / "run.html").read_text(encoding="utf-8")
    read = Reader(page)
    assert "img" not in read.tags
    assert read.tags.count("script") == 2
    assert HOSTILE not in page

    data = carried(page)
    assert data["report"]["parameters"] == {"word": HOSTILE}
    assert data["report"]["result"] == {"said": HOSTILE, "half": "\ud800"}
    (shouted,) = bars(data, HOSTILE)
    assert shouted["output"] == repr(HOSTILE)
    (failed,) = bars(data, "fail")
    assert (failed["outcome"], failed["error"]) == ("error", f"ValueError: {HOSTILE}")
    (grudge,) = bars(data, "hold_a_grudge")
    assert "cannot be decoded: RuntimeError: not me" in grudge["output"]
    (filled,) = bars(data, "fill")
    assert "too large to show" in filled["output"]


@pytest.mark.asyncio
async def test_what_is_left_out_is_counted(cli: Cli, database: DatabaseUrl) -> None:
    assert cli("run", "resume", "--run-id", "x", "--set", "latency_s=0").code == 0
    connection = await connect(database)
    try:
        timeline = await gather_timeline(
            connection, await get_run(connection, "x"), most_lanes=5, most_bars=6
        )
    finally:
        await connection.close()
    assert timeline.lanes[0].workflow_id == "x"
    assert len(timeline.lanes) == 5
    assert sum(len(lane.bars) for lane in timeline.lanes) == 6
    assert timeline.truncated == {"lanes": 16, "bars": 17, "bodies": 16}


def test_the_page_goes_to_stdout_too(looking: Cli) -> None:
    result = looking("report", "x", "-o", "-")
    assert result.code == 0
    assert carried(result.stdout)["report"]["run_id"] == "x"
    assert not (looking.folder / "-").exists()


def test_a_broken_promise_is_a_page_like_any_other(cli: Cli) -> None:
    assert cli("run", "resume", "--run-id", "x", "--crash-after", "2").code == -9
    assert broken(report(cli, "x")["report"])["nothing_left"][0]["rows"]


def test_a_file_is_replaced_whole(looking: Cli) -> None:
    target = looking.folder / "kept.html"
    target.write_text("old")
    target.chmod(0o640)
    (looking.folder / "run.html").symlink_to(target)
    report(looking, "x")
    assert (looking.folder / "run.html").is_symlink()
    assert target.read_text().startswith("<!doctype html>")
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert sorted(path.suffix for path in looking.folder.iterdir() if path.is_file()) == [
        ".html", ".html",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("folder", "is a folder: name a file in it"),
        ("missing/run.html", "/missing: make it"),
        ("file/run.html", "/file: make it"),
    ],
)
def test_a_place_that_cannot_be_written(looking: Cli, output: str, reason: str) -> None:
    (looking.folder / "folder").mkdir()
    (looking.folder / "file").write_text("")
    result = looking("report", "x", "-o", output)
    assert result.code == 2
    assert reason in result.error
    assert list((looking.folder / "folder").iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(looking: Cli) -> None:
    folder: Path = looking.folder / "closed"
    folder.mkdir(mode=0o500)
    result = looking("report", "x", "-o", "closed/run.html")
    assert result.code == 2
    assert "Permission denied" in result.error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_device_is_one_clear_line(looking: Cli) -> None:
    result = looking("report", "x", "-o", "/dev/full")
    assert result.code == 2
    assert "cannot write /dev/full: No space left" in result.error


def test_an_unknown_run_and_no_file_are_wrong_usage(looking: Cli) -> None:
    unknown = looking("report", "nothing", "-o", "run.html")
    assert unknown.code == 2
    assert "no run 'nothing'" in unknown.error
    assert not (looking.folder / "run.html").exists()
    assert looking("report", "x").code == 2


def test_looking_is_enough_to_report(cli: Cli, database: DatabaseUrl) -> None:
    assert cli("run", "resume", "--run-id", "x", "--set", "messages=1").code == 0
    cli.query(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    assert report(cli, "x")["report"]["status"] == "SUCCESS"


def test_no_asset_could_end_the_element_that_it_stands_in() -> None:
    for name in ASSETS:
        assert "</s" not in asset(name).lower()
        assert "<!--" not in asset(name)
    assert "innerHTML" not in asset("view.js")
    with pytest.raises(KeyError):
        asset("../page.py")


def test_data_in_a_page_has_no_markup() -> None:
    data = {"</script>": ["<!--", "&amp;", "\u2028", float("nan"), {1, 2}, object]}
    text = view_json(data)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text)["</script>"][:3] == ["<!--", "&amp;", "\u2028"]
