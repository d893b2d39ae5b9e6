"""The plugin in suites of somebody's own: real processes, and one server for all of them."""

from __future__ import annotations

import json
import os
import pty
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from aexp.database import DatabaseUrl
from tests.support.cli import Cli
from tests.testing.suites import WORKFLOWS, run

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.usefixtures("as_a_user")

FEW = ("--aexp-points=1", "--aexp-sides=before")


@pytest.mark.nightly
def test_a_workflow_is_found_wherever_a_suite_has_it(
    pytester: pytest.Pytester, server: DatabaseUrl
) -> None:
    package = pytester.mkpydir("shop")
    (package / "flows.py").write_text(WORKFLOWS)
    own = WORKFLOWS.replace("def checkout(", "def checkout_here(").split("@DBOS.step()\ndef count")
    pytester.makepyfile(
        conftest="""
            from dbos import DBOS

            @DBOS.workflow()
            async def in_conftest(order: str) -> str:
                return order
        """,
        test_async=own[0]
        + """
import pytest


@pytest.mark.asyncio
async def test_of_this_module(aexp):
    found = await aexp.crash(checkout_here, order="A17", items=3)
    assert found.outcome == "A17: 3"


@pytest.mark.anyio
async def test_under_anyio(aexp, anyio_backend):
    await aexp.crash(checkout_here, "A17")
""",
        test_sync="""
            from conftest import in_conftest
            from shop.flows import checkout, measure, shelf

            def test_of_the_package(aexp):
                aexp.crash_sync(measure, order="A17")

            def test_of_an_instance(aexp):
                found = aexp.crash_sync(shelf.store, "A17")
                assert found.outcome == "upper A17: 1"

            def test_of_conftest(aexp):
                aexp.crash_sync(in_conftest, "A17")
        """,
    )
    done = run(pytester, server, *FEW, "--junitxml=junit.xml")
    done.assert_outcomes(passed=5)
    summary = done.outlines[done.outlines.index(next(filter(_is_heading, done.outlines))) :]
    assert sum("HELD: 1 of 1 points verified, 0 findings" in line for line in summary) == 5
    assert any(line.startswith("5 explorations: 5 of 5 points verified") for line in summary)
    case = ET.parse(pytester.path / "junit.xml").find(".//testcase[@name='test_of_this_module']")
    assert case is not None
    properties = {p.attrib["name"]: p.attrib["value"] for p in case.iter("property")}
    assert properties["aexp_points_verified"] == "1 of 1"
    assert properties["aexp_findings"] == "0"
    assert float(properties["aexp_seconds_per_point"]) > 0


def _is_heading(line: str) -> bool:
    return line.startswith("=") and line.strip("=") == " aexp "


@pytest.mark.nightly
def test_under_xdist_auto_mode_and_importlib_and_from_another_folder(
    pytester: pytest.Pytester, server: DatabaseUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = pytester.mkdir("project")
    (project / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\naddopts = --import-mode=importlib\naexp_points = 1\n"
        "aexp_sides = before\n"
    )
    tests = project / "tests"
    tests.mkdir()
    for number in range(2):
        text = WORKFLOWS.replace("def checkout(", f"def checkout_{number}(")
        text = text.split("@DBOS.step()\ndef count")[0].replace("def reserve", f"def r{number}")
        text = text.replace("await reserve", f"await r{number}")
        (tests / f"test_{number}.py").write_text(
            f"{text}\n\nasync def test_it(aexp):\n    await aexp.crash(checkout_{number}, 'A17')\n"
        )
    elsewhere = pytester.mkdir("elsewhere")
    monkeypatch.chdir(elsewhere)
    done = run(pytester, server, "-n2", "--rootdir", str(project), "-c",
               str(project / "pytest.ini"), str(tests), "-v")  # fmt: skip
    done.assert_outcomes(passed=2)
    done.stdout.fnmatch_lines(["*2 explorations: 2 of 2 points verified, 0 findings*"])
    # Nothing is drawn over lines that are not a terminal's.
    assert "\r" not in done.stdout.str()


@pytest.mark.nightly
def test_a_suite_makes_its_tables_once_or_for_one_test(
    pytester: pytest.Pytester, server: DatabaseUrl
) -> None:
    pytester.makepyfile(
        conftest="""
            import psycopg, pytest

            @pytest.fixture(scope="session", autouse=True)
            def tables(aexp_template):
                with psycopg.connect(aexp_template, autocommit=True) as connection:
                    connection.execute("CREATE TABLE letters (name text PRIMARY KEY)")
        """,
        test_tables="""
            import os

            import psycopg
            from dbos import DBOS

            @DBOS.step()
            def read() -> list[str]:
                with psycopg.connect(os.environ["DBOS_SYSTEM_DATABASE_URL"]) as connection:
                    return [name for name, in connection.execute("SELECT name FROM letters")]

            @DBOS.workflow()
            def letters() -> list[str]:
                return read()

            def test_of_this_test_alone(aexp):
                with psycopg.connect(aexp.database, autocommit=True) as connection:
                    connection.execute("INSERT INTO letters VALUES ('a')")
                assert aexp.crash_sync(letters).outcome == ["a"]

            @DBOS.step()
            def write(name: str) -> None:
                with psycopg.connect(os.environ["DBOS_SYSTEM_DATABASE_URL"]) as connection:
                    statement = "INSERT INTO letters VALUES (%s) ON CONFLICT DO NOTHING"
                    connection.execute(statement, [name])

            @DBOS.workflow()
            def post(name: str) -> None:
                write(name)

            def test_a_run_is_killed_in_it(aexp):
                report = aexp.run_sync(post, "c", kills=1)
                assert report.account["kills"]["landed"] == 1
                with psycopg.connect(aexp.database) as connection:
                    assert connection.execute("SELECT name FROM letters").fetchall() == [("c",)]

            def test_the_next_one_does_not_see_it(aexp):
                assert aexp.crash_sync(letters).outcome == []

            def test_somebody_is_still_connected(aexp):
                with psycopg.connect(aexp.database, autocommit=True) as connection:
                    connection.execute("INSERT INTO letters VALUES ('b')")
                    assert aexp.crash_sync(letters).outcome == ["b"]
        """,
    )
    done = run(pytester, server, *FEW)
    done.assert_outcomes(passed=4)


@pytest.mark.nightly
def test_a_terminal_shows_how_far_it_is(pytester: pytest.Pytester, server: DatabaseUrl) -> None:
    pytester.makepyfile(
        test_it=WORKFLOWS + "\n\ndef test_it(aexp):\n    aexp.crash_sync(measure, 'A')\n"
    )
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pytest", *FEW]
    url = f"--aexp-database-url={server.with_name('postgres').libpq}"
    with subprocess.Popen(
        [*command, url], stdin=theirs, stdout=theirs, env={**os.environ, "TERM": "xterm"}
    ) as process:
        os.close(theirs)
        shown = b""
        # The end of a terminal whose other side is closed is an error on Linux.
        with suppress(OSError):
            while part := os.read(ours, 4096):
                shown += part
        os.close(ours)
    assert process.returncode == 0
    assert b"\x1b7\x1b[?7l\x1b[K aexp baseline\x1b[?7h\x1b8" in shown
    assert b" aexp exploring: 0 of 1 points\x1b[?7h\x1b8" in shown


@pytest.mark.nightly
def test_each_finding_is_a_subtest_whose_lines_bring_it_back(
    pytester: pytest.Pytester, server: DatabaseUrl, cli: Cli
) -> None:
    test = """

def test_once(aexp):
    aexp.crash_sync(checkout, order="A 17", once=["reserve"])


def test_expected(aexp):
    found = aexp.explore_sync(checkout, order="A 17", once=["reserve"])
    try:
        found.check()
    except AssertionError as error:
        assert str(error).splitlines()[0].startswith("checkout  BROKEN")
        assert "aexp crash test_once.py:checkout" in str(error)
    else:
        raise RuntimeError("it is broken")
"""
    file = pytester.makepyfile(test_once=WORKFLOWS + test)
    sarif = pytester.path / "found" / "aexp.sarif"
    done = run(pytester, server, "--aexp-sides=before", f"--aexp-sarif={sarif}")
    assert done.ret == 1
    done.stdout.fnmatch_lines(
        [
            "*test_once ?AX0*",
            "*PromisesBroken: checkout  BROKEN  without a fault: SUCCESS A 17: 1",
            "SUBFAILED* test_once.py::test_once*",
        ]
    )
    results = json.loads(sarif.read_text())["runs"][0]["results"]
    assert {result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in
            results} == {"test_once.py"}  # fmt: skip
    again = [line.strip() for line in done.outlines if " --aexp-replay " in line]
    shell = [line.strip() for line in done.outlines if line.strip().startswith("aexp crash ")]
    assert len(again) == len(shell) > 0

    # What pytest said, word for word.
    program, *arguments = shlex.split(again[0])
    assert program == "pytest"
    replayed = run(pytester, server, *arguments)
    assert replayed.ret == 1
    replayed.stdout.fnmatch_lines(["*1 of 1 points broken*"])
    cli.folder = pytester.path
    crashed = cli(*shlex.split(shell[0])[1:])
    assert crashed.code == 1, crashed.stderr
    assert "1 of 1 points broken" in crashed.stdout

    # What was broken is tried first, also where few points are chosen; once mended, no longer.
    kept = list((pytester.path / ".pytest_cache" / "v" / "aexp" / "broken").iterdir())
    assert [len(json.loads(each.read_text())["checkout"]) for each in kept] == [1, 1]
    file.write_text(file.read_text().replace(', once=["reserve"]', ""))
    mended = run(pytester, server, *FEW, "--aexp-points=2", "-k", "test_once and not expected")
    mended.assert_outcomes(passed=1, deselected=1)
    # The one that was chosen, and the one that was kept.
    mended.stdout.fnmatch_lines(["*HELD: 2 of 2 points verified*"])
    left = [len(json.loads(each.read_text())["checkout"]) for each in kept]
    assert sorted(left) == [0, 1]


@pytest.mark.parametrize("given", [["--aexp-off"], ["-o", "aexp_off=true"]])
def test_it_can_be_switched_off(
    pytester: pytest.Pytester, server: DatabaseUrl, given: list[str]
) -> None:
    pytester.makepyfile(
        "def test_skipped(aexp): raise RuntimeError\n\ndef test_of_something_else(): pass\n"
    )
    run(pytester, server, *given).assert_outcomes(skipped=1, passed=1)


def test_a_suite_that_does_not_use_it_imports_nothing_of_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_it():
            ours = {name for name in sys.modules if name.partition(".")[0] == "aexp"}
            assert ours == {"aexp", "aexp.testing", "aexp.testing.plugin"}
            assert not {"anyio.from_thread", "dbos", "pydantic", "sqlalchemy"} & {*sys.modules}
        """
    )
    pytester.runpytest_subprocess(
        "-p", "no:anyio", "-p", "no:schemathesis", "-p", "no:hypothesispytest"
    ).assert_outcomes(passed=1)


def test_an_embedded_server_that_the_suite_started_is_stopped(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, short_folder: Path
) -> None:
    home = short_folder / "home"
    monkeypatch.setenv("AEXP_HOME", str(home))
    monkeypatch.delenv("AEXP_DATABASE_URL", raising=False)
    pytester.makepyfile("def test_it(aexp): assert aexp.database.startswith('postgresql://')\n")
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
    assert list(home.glob("*/PG_VERSION"))
    assert not list(home.glob("*/postmaster.pid"))
