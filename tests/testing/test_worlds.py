"""``aexp.determinism`` in a suite: what diverges fails with what brings it out, and comes back."""

from __future__ import annotations

import shlex

import pytest

from aexp.database import DatabaseUrl

pytest_plugins = ["pytester"]
pytestmark = [pytest.mark.nightly, pytest.mark.usefixtures("as_a_user")]

SUITE = """
import datetime
from dbos import DBOS

@DBOS.step()
def note(given: str) -> str:
    return given

@DBOS.step()
def today() -> str:
    return datetime.date.today().isoformat()

@DBOS.workflow()
def hasty(order: str) -> str:
    note(datetime.date.today().isoformat())
    return order

@DBOS.workflow()
def patient(order: str) -> str:
    note(today())
    return order

def test_hasty(aexp):
    aexp.determinism_sync(hasty, "A17")

def test_patient(aexp):
    aexp.crash_sync(patient, "A17", points=1)
    aexp.determinism_sync(patient, "A17", worlds="clock,hashes", points=2)
"""


def test_a_body_that_asks_for_the_day_fails_its_test(
    pytester: pytest.Pytester, server: DatabaseUrl
) -> None:
    pytester.makepyfile(test_flows=SUITE)
    command = ("-rA", "--aexp-database-url", server.with_name("postgres").libpq)
    done = pytester.runpytest_subprocess(*command)
    told = done.stdout.str()
    # The test, and its subtest.
    assert "2 failed, 1 passed" in told, told
    assert "when the clock is a day later: read the time in a step" in told
    lines = dict.fromkeys(line.strip() for line in told.splitlines() if "then in:" in line)
    by_aexp, by_pytest = sorted(lines, key=lambda line: not line.startswith("aexp"))[:2]
    assert by_aexp.startswith("aexp determinism ")
    words = shlex.split(by_pytest)
    assert words[0] == "pytest"
    again = pytester.runpytest_subprocess(*words[1:], *command)
    assert again.ret == 1
    assert "AX011" in again.stdout.str()
