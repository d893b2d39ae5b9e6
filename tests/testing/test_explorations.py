"""Explorations and runs without pytest's fixture."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import psutil
import psycopg
import pytest
from dbos import DBOS

from aexp.crash.request import ExplorationProgress
from aexp.database import DatabaseUrl
from aexp.errors import UsageError
from aexp.testing import Explorations, RunBroken, open_explorations
from aexp.testing.options import ExploreOptions
from aexp.testing.runs import check_report
from tests.support.cli import eventually
from tests.testing.suites import WORKFLOWS


@DBOS.step()
async def step_of_explorations(number: int) -> int:
    return number


@DBOS.workflow()
async def sum_of_explorations(numbers: int = 2) -> int:
    return sum([await step_of_explorations(number) for number in range(numbers)])


@DBOS.workflow()
async def error_of_explorations() -> None:
    raise ValueError("no")


@pytest.fixture(scope="module")
def explorations(server: DatabaseUrl) -> Iterator[Explorations]:
    with open_explorations(server.with_name("postgres").libpq) as opened:
        yield opened


@DBOS.workflow()
async def lateness_of_explorations() -> str:
    assert DBOS.workflow_id is not None
    await DBOS.start_workflow_async(answer_of_explorations, DBOS.workflow_id)
    answer = await DBOS.recv_async("answer", timeout_seconds=3600)
    return "late" if answer is None else "in time"


@DBOS.workflow()
async def answer_of_explorations(asker: str) -> None:
    await DBOS.sleep_async(0.3)
    await DBOS.send_async(asker, "yes", "answer")


def test_what_depends_on_downtime_is_told(explorations: Explorations) -> None:
    found = explorations.explore_sync(
        lateness_of_explorations, sides="after", points=1, down="3d,deadlines", jobs=2
    )
    assert found.ok, found.as_json()
    downtimes = [point.down_s for point in found.planned if point.down_s is not None]
    assert len(downtimes) == len(found.planned) - 1 == 1
    with pytest.raises(UsageError, match="'soon' is no duration"):
        explorations.explore_sync(lateness_of_explorations, down="soon")


@pytest.mark.one_loop
@pytest.mark.asyncio
@pytest.mark.nightly
async def test_an_exploration_is_cancelled_with_its_points(explorations: Explorations) -> None:
    seen: list[ExplorationProgress | None] = []
    explorations.on_progress = seen.append

    def explores() -> bool:
        return any(tally is not None and tally.doing == "exploring" for tally in seen)

    async with anyio.create_task_group() as group:
        group.start_soon(explorations.explore, sum_of_explorations)
        await eventually(explores)
        group.cancel_scope.cancel()
    last = next(tally for tally in reversed(seen) if tally is not None)
    assert last.planned is not None
    assert last.done < last.planned
    assert seen[-1] is None
    found = await explorations.explore(sum_of_explorations, 1, sides="before", points=1)
    assert found.ok
    assert found.outcome == 0


@pytest.mark.nightly
def test_a_command_names_a_database_where_the_workflow_needs_one(
    explorations: Explorations,
) -> None:
    chosen: dict[str, Any] = {"points": 1, "sides": "before"}
    found = explorations.explore_sync(sum_of_explorations, 1, **chosen)
    assert "--template" not in found.replay_of("POINT")
    with explorations.copy_template() as url:
        with psycopg.connect(url.libpq) as connection:
            connection.execute("CREATE TABLE letters ()")
        found = explorations.explore_sync(sum_of_explorations, 1, template=url.name, **chosen)
    # This one is gone.
    assert "--template DATABASE --replay POINT" in found.replay_of("POINT")


def test_a_run_is_killed_as_often_as_asked(explorations: Explorations) -> None:
    report = explorations.run_sync(sum_of_explorations, numbers=4, kills=2, seed=7)
    check_report(report)
    assert report.result == 6
    assert report.account["kills"] == {"asked": 2, "landed": 2, "seed": 7}
    assert [report.ended(process) for process in report.processes].count("killed by SIGKILL") == 2


def test_a_run_that_ends_in_error_is_broken(explorations: Explorations) -> None:
    report = explorations.run_sync(error_of_explorations)
    with pytest.raises(RunBroken, match=r"(?s)error_of_explorations  BROKEN\n.*ERROR.*no") as told:
        check_report(report)
    assert told.value.report is report


def test_an_option_that_the_workflow_takes_by_position_is_no_question() -> None:
    def since(since: str) -> None: ...

    options = ExploreOptions(since="HEAD")
    options.check_unambiguous("since", since, 1)
    with pytest.raises(UsageError, match="since takes 'since' itself, and so does explore"):
        options.check_unambiguous("since", since, 0)


def test_kills_below_none_are_refused(explorations: Explorations) -> None:
    with pytest.raises(UsageError, match="kills=-1: give how often"):
        explorations.run_sync(sum_of_explorations, kills=-1)


@pytest.mark.nightly
def test_what_a_unit_test_explores_leaves_no_process(server: DatabaseUrl, tmp_path: Path) -> None:
    (tmp_path / "test_shop.py").write_text(
        f"{WORKFLOWS}\n\n"
        "import unittest\n\n"
        "from aexp.testing import explore_sync\n\n\n"
        "class TestShop(unittest.TestCase):\n"
        "    def test_checkout(self):\n"
        "        found = explore_sync(checkout, 'A', points=1, sides='before', database_url=URL)\n"
        "        found.check()\n"
        "        self.assertEqual(len(found.verified), 1)\n".replace(
            "URL)", f"{server.with_name('postgres').libpq!r})"
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", "unittest"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "3"},
    )
    assert done.returncode == 0, done.stderr
    assert "\nOK" in done.stderr
    assert not [one for one in psutil.Process().children() if "unittest" in one.cmdline()]
