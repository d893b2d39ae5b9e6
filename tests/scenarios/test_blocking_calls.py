"""No scenario blocks the event loop: a detector notes every call that does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aexp.scenarios import BUILT_IN
from tests.support.cli import Cli

pytestmark = pytest.mark.nightly

DETECTOR = Path(__file__).parent.parent / "support" / "detector"


@pytest.fixture
def watched(cli: Cli, tmp_path: Path) -> Cli:
    """The command, with every Python process of it watched."""
    known = os.environ.get("PYTHONPATH")
    cli.environment = {
        "PYTHONPATH": f"{DETECTOR}{os.pathsep}{known}" if known else str(DETECTOR),
        "AEXP_TEST_BLOCKING_CALLS": str(tmp_path / "blocking"),
    }
    return cli


def noted(folder: Path) -> list[str]:
    path = folder / "blocking"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


@pytest.mark.parametrize("scenario", BUILT_IN)
def test_a_scenario_blocks_the_loop_nowhere(watched: Cli, tmp_path: Path, scenario: str) -> None:
    result = watched("run", scenario, "--json")

    assert result.json["status"] == "SUCCESS", result.stderr
    assert noted(tmp_path) == []


def test_nor_does_one_that_is_killed_and_resumed(watched: Cli, tmp_path: Path) -> None:
    assert watched("run", "resume", "--kills", "1", "--json").code == 0
    assert noted(tmp_path) == []


SLEEPY = """
import time
from dbos import DBOS

@DBOS.workflow()
async def sleepy() -> None:
    time.sleep(0.001)
"""


def test_the_detector_notes_what_does_block(watched: Cli, tmp_path: Path) -> None:
    (tmp_path / "sleepy.py").write_text(SLEEPY)

    assert watched("run", "sleepy.py:sleepy").code == 0
    assert len(noted(tmp_path)) == 1
    assert noted(tmp_path)[0].startswith("time.sleep: sleepy.py:7 sleepy")
