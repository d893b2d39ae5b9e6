"""What a suite does wrong is told in one line."""

from __future__ import annotations

import pytest

from aexp.database import DatabaseUrl
from tests.testing.suites import WORKFLOWS, run

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.usefixtures("as_a_user")

BAD_USE = """
import pytest


def plain(order: str) -> str:
    return order


@DBOS.workflow()
def seeded(seed: int) -> int:
    return seed


@DBOS.workflow()
def untyped(value) -> None:
    return None


def make():
    @DBOS.workflow()
    def closure() -> None:
        return None

    return closure


def test_no_workflow(aexp):
    aexp.crash_sync(plain, "A17")


def test_a_lambda(aexp):
    aexp.crash_sync(lambda: None)


def test_a_closure(aexp):
    aexp.crash_sync(make())


def test_defined_in_a_test(aexp):
    @DBOS.workflow()
    def inner() -> None:
        return None

    aexp.crash_sync(inner)


def test_no_such_argument(aexp):
    aexp.crash_sync(checkout, "A17", colour="red")


def test_ambiguous(aexp):
    aexp.crash_sync(seeded, seed=7)


def test_no_json(aexp):
    aexp.crash_sync(untyped, value=(1, 2))


def test_no_side(aexp):
    aexp.crash_sync(checkout, "A17", sides="behind")


@pytest.mark.aexp(point=3)
def test_no_option(aexp):
    aexp.crash_sync(checkout, "A17")


@pytest.mark.asyncio
async def test_not_awaited(aexp):
    aexp.crash(checkout, "A17")
"""
TOLD_OF_BAD_USE = """\
nothing was explored, since a coroutine of the fixture was not awaited: write `await\
 aexp.crash(…)`, or aexp.crash_sync(…) in a test without `async`
plain is no DBOS workflow: decorate it with @DBOS.workflow()
a lambda is no workflow that another process can import: write a function at the top of a module\
 and decorate it with @DBOS.workflow()
closure is defined inside make(), where no other process can import it: move it to the top of its\
 module
inner is defined inside test_defined_in_a_test(), where no other process can import it: move it to\
 the top of its module
checkout(order: str, items: int = 1) -> str cannot be called so: got an unexpected keyword argument\
 'colour'
seeded takes 'seed' itself, and so does explore(): give the workflow's by position
untyped: value=(1, 2) would reach the workflow as [1, 2], since it goes there as JSON: give the\
 argument a type annotation
sides: 'behind' is none of before, after, lost-ack
""".splitlines()


def test_bad_use_is_told_in_one_line(pytester: pytest.Pytester, server: DatabaseUrl) -> None:
    pytester.makepyfile(test_bad=WORKFLOWS + BAD_USE)
    done = run(pytester, server)
    done.assert_outcomes(passed=1, failed=8, errors=2)
    told = [line.removeprefix("aexp: ") for line in done.outlines if line.startswith("aexp: ")]
    # Errors of fixtures first, each once.
    assert told[0].startswith("the marker aexp takes no 'point': it takes sides, points, seed,")
    assert told[1:] == TOLD_OF_BAD_USE
    assert "Traceback" not in done.stdout.str()


def test_without_the_plugin_pytest_says_what_is_missing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(aexp): pass\n")
    done = pytester.runpytest_subprocess("-p", "no:aexp")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["E*fixture 'aexp' not found"])


def test_two_workflows_of_one_name_are_told(pytester: pytest.Pytester) -> None:
    flow = "from dbos import DBOS\n\n@DBOS.workflow()\ndef flow({}) -> None: ...\n"
    pytester.makepyfile(test_one=flow.format(""), test_two=flow.format("order: str"))
    done = pytester.runpytest_subprocess()
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["a process knows one workflow or step of a name*"])


def test_on_windows_it_says_that_it_cannot(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        conftest="""
            import sys
            from types import SimpleNamespace

            from aexp.testing import plugin

            plugin.sys = SimpleNamespace(platform="win32", stdout=sys.stdout)
        """,
        test_it="def test_it(aexp): pass\n",
    )
    done = pytester.runpytest_subprocess()
    done.assert_outcomes(errors=1)
    (line,) = [line for line in done.outlines if line.startswith("aexp: ")]
    assert "on Linux, on macOS or in WSL" in line
