"""``aexp.upgrade`` in a suite: new code that breaks runs in flight fails its test, in a way that
comes back, and code that minds them is not accused.
"""

from __future__ import annotations

import shlex
import subprocess
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from aexp.database import DatabaseUrl
from tests.support.cli import Cli
from tests.testing.suites import run

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.usefixtures("as_a_user")

# Of each workflow the name of its step's kind, then what the new code has between its steps.
FLOWS = """
from dbos import DBOS


@DBOS.step()
async def reserve(item: str) -> str:
    return "reserved"


@DBOS.step()
async def approve(item: str) -> str:
    return "approved"
{charge}

@DBOS.workflow()
async def hasty(item: str{argument}) -> str:
    await reserve(item)
    {hasty}
    return await approve(item)


@DBOS.workflow()
async def careful(item: str{argument}) -> str:
    await reserve(item)
    {careful}
    return await approve(item)
"""
OLD = FLOWS.format(charge="", argument="", hasty="", careful="")
NEW = FLOWS.format(
    charge='\n\n@DBOS.step()\nasync def charge(item: str) -> str:\n    return "charged"\n',
    # A call that does not give it is the same under both codes.
    argument=", urgent: bool = False",
    hasty="await charge(item)",
    careful='if await DBOS.patch_async("charge"):\n        await charge(item)',
)
SUITE = """
import pytest
from pathlib import Path

from {module} import careful, hasty


@pytest.mark.asyncio
async def test_hasty(aexp):
    await aexp.upgrade(hasty, item="mug", since={since})


def test_careful(aexp):
    found = aexp.upgrade_sync(careful, "mug")
    assert found.outcome == "approved"
    assert [result.became for result in found.results] == ["goes on"] * 3
"""


def commit(folder: Path, message: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for words in (("init", "-q"), ("add", "-A"), (*who, "commit", "-qm", message)):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(pytester: pytest.Pytester) -> Path:
    """A project with its code in src, of which a revision and the next one differ."""
    pytester.makeini("[pytest]\npythonpath = src")
    shop = pytester.path / "src" / "shop"
    shop.mkdir(parents=True)
    (shop / "__init__.py").touch()
    (shop / "kinds.py").write_text("KINDS = 1\n")
    (shop / "orders.py").write_text(f"from shop.kinds import KINDS\n{OLD}")
    (pytester.path / ".gitignore").write_text(".*\n__pycache__\n")
    commit(pytester.path, "one")
    (shop / "kinds.py").unlink()
    (shop / "orders.py").write_text(NEW)
    commit(pytester.path, "two")
    return pytester.path


def test_code_of_a_revision(
    project: Path, pytester: pytest.Pytester, server: DatabaseUrl, cli: Cli
) -> None:
    tests = project / "tests"
    tests.mkdir()
    (tests / "test_orders.py").write_text(SUITE.format(module="shop.orders", since="'HEAD~1'"))
    done = run(pytester, server, "-rA", "--aexp-since=HEAD~1")
    told = done.stdout.str()
    # The test, and its subtest.
    assert "2 failed, 1 passed" in told, told
    assert "AX017" in told
    assert "deployed after step 2 `approve`" in told
    assert "was `approve` with ('mug',)" in told
    assert "its replay calls `charge` with ('mug',)" in told
    assert "tests/test_orders.py::test_hasty hasty      BROKEN: 3 of 3 points verified" in told
    assert "tests/test_orders.py::test_careful careful  HELD: 3 of 3 points verified" in told
    lines = dict.fromkeys(line.strip() for line in done.outlines if "replay" in line)
    by_aexp = next(line for line in lines if line.startswith("aexp "))
    by_pytest = next(line for line in lines if line.startswith("pytest "))
    again = run(pytester, server, *shlex.split(by_pytest)[1:])
    assert again.ret == 1
    again.stdout.fnmatch_lines(["*deployed after step 2 `approve`*", "*1 of 1 points broken*"])
    assert shlex.split(by_aexp)[:5] == [
        "aexp", "upgrade", "src/shop/orders.py:hasty", "--from", "HEAD~1"
    ]  # fmt: skip
    by_hand = replace(cli, folder=project)(*shlex.split(by_aexp)[1:])
    assert by_hand.code == 1, by_hand.stderr
    assert "deployed after step 2 `approve`" in by_hand.stdout
    assert "1 of 1 points broken" in by_hand.stdout


def test_code_of_a_folder_inside_the_project(
    pytester: pytest.Pytester, server: DatabaseUrl, cli: Cli
) -> None:
    folder = pytester.mkdir("before")
    (folder / "flows.py").write_text(OLD)
    since = "Path(__file__).parent / 'before'"
    pytester.makepyfile(flows=NEW, test_flows=SUITE.format(module="flows", since=since))
    done = run(pytester, server, "-rA", "-o", "aexp_since=before/flows.py")
    told = done.stdout.str()
    assert "2 failed, 1 passed" in told, told
    assert "deployed after step 2 `approve`" in told
    by_aexp = next(line.strip() for line in done.outlines if line.startswith("  aexp upgrade "))
    assert by_aexp.startswith("aexp upgrade flows.py:hasty --from before --set item=mug --replay ")
    by_hand = replace(cli, folder=pytester.path)(*shlex.split(by_aexp)[1:])
    assert by_hand.code == 1, by_hand.stderr
    assert "1 of 1 points broken" in by_hand.stdout


def test_a_workflow_of_a_test_module_in_the_mode_importlib(
    pytester: pytest.Pytester, server: DatabaseUrl
) -> None:
    tests = pytester.mkdir("tests") / "test_flows.py"
    tests.write_text(OLD)
    (pytester.path / ".gitignore").write_text(".*\n__pycache__\n")
    commit(pytester.path, "one")
    explored = """

        def test_careful(aexp):
            found = aexp.explore_sync(careful, "mug", since="HEAD", points=1)
            assert found.study == "upgrade"
            assert found.ok
            assert len(found.results) == 1
            assert found.possible == 3
    """
    tests.write_text(NEW + textwrap.dedent(explored))
    done = run(pytester, server, "--import-mode=importlib")
    done.assert_outcomes(passed=1)


BAD_USE = """
import pytest
from pathlib import Path
from dbos import DBOS

from shop.orders import careful
from shop.late import late


@DBOS.workflow()
def in_a_test() -> None:
    return None


def test_no_code(aexp):
    aexp.upgrade_sync(careful, "mug")


def test_no_revision(aexp):
    aexp.upgrade_sync(careful, "mug", since="v9")


def test_no_path(aexp):
    aexp.upgrade_sync(careful, "mug", since=Path("nowhere"))


def test_nothing(aexp):
    aexp.upgrade_sync(careful, "mug", since=3)


@pytest.mark.aexp(worlds="clock")
def test_two_studies(aexp):
    aexp.upgrade_sync(careful, "mug", since="HEAD")


def test_itself(aexp):
    aexp.upgrade_sync(careful, "mug", since="src")


def test_installed(aexp):
    aexp.upgrade_sync("resume", since="HEAD")


def test_no_module(aexp):
    aexp.upgrade_sync(late, since="HEAD")


def test_no_package(aexp):
    aexp.upgrade_sync(late, since="v1/shop")


def test_no_workflow(aexp):
    aexp.upgrade_sync(late, since="v1")


def test_other_arguments(aexp):
    aexp.upgrade_sync(careful, "mug", urgent=True, since="HEAD~1")


@pytest.mark.asyncio
async def test_not_awaited(aexp):
    aexp.upgrade(careful, "mug", since="HEAD")
"""
TOLD_OF_BAD_USE = """\
nothing was explored, since a coroutine of the fixture was not awaited: write `await\
 aexp.crash(…)`, or aexp.crash_sync(…) in a test without `async`
upgrade takes old code: give since='HEAD', or another revision of git, a folder or a file, or\
 --aexp-since
'v9' is no file or folder, nor a revision of git: fatal: not a valid object name: v9
since: there is no file or folder nowhere
since=3 is no revision of git and no path
worlds and since are explored one at a time: leave one out
FOLDER/src is the code as it is now: give a folder with the old code, or a revision
resume is installed, and its old code cannot be found beside it: name a file,\
 path/to/flows.py:NAME, or run this in the folder of its module
HEAD has no src/shop/late.py: there is no old code of shop.late:late
FOLDER/v1/shop has no shop/late.py: there is no old code of shop.late:late
old code: shop.late has no 'late'; did you mean 'later'?
old code: unknown parameter 'urgent': it takes item (`aexp describe` lists what careful takes)
""".splitlines()


def test_bad_use_is_told_in_one_line(
    project: Path, pytester: pytest.Pytester, server: DatabaseUrl
) -> None:
    late = project / "src" / "shop" / "late.py"
    late.write_text("from dbos import DBOS\n\n@DBOS.workflow()\ndef late() -> None: ...\n")
    old = project / "v1" / "shop"
    old.mkdir(parents=True)
    (old / "late.py").write_text("later = 1\n")
    (old / "__init__.py").touch()
    pytester.makepyfile(BAD_USE)
    done = run(pytester, server)
    told = [line.removeprefix("aexp: ") for line in done.outlines if line.startswith("aexp: ")]
    assert [line.replace(str(project), "FOLDER") for line in told] == TOLD_OF_BAD_USE
    done.assert_outcomes(passed=1, failed=11, errors=1)
    assert "Traceback" not in done.stdout.str()


def test_without_git_a_revision_is_refused(pytester: pytest.Pytester, server: DatabaseUrl) -> None:
    suite = 'def test_it(aexp):\n    aexp.upgrade_sync(careful, "mug", since="v1")\n'
    pytester.makepyfile(f"{NEW}\n\n{suite}")
    done = run(pytester, server)
    done.assert_outcomes(failed=1)
    (line,) = [line for line in done.outlines if line.startswith("aexp: ")]
    assert line.startswith(
        "aexp: 'v1' is no file or folder, nor a revision of git: fatal: not a git"
    )
