"""What a body depends on is found by name, and right bodies, as like as can be, are not accused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from aexp.crash.experiment.workers import Surroundings
from aexp.crash.judge.points import Point, parse_point
from aexp.crash.judge.worlds import ALL_WORLDS, World
from aexp.crash.results import Exploration
from aexp.database import DatabaseUrl
from aexp.errors import UsageError
from tests.conftest import TEMPLATE
from tests.support.cli import Cli
from tests.support.explorations import PLANTED, explore
from tests.support.nightly import nightly_but

WORLDS = PLANTED / "pairs" / "worlds.py"
END = "before:update dbos.workflow_status SUCCESS + insert dbos.workflow_output [~]#1"

# What is found, and in which worlds alone: none of them where any other process shows it. One that
# must show in a world may show in another one as well, as the day does by the time zone. What ends
# first by chance may do so anywhere (None).
WRONG: dict[str, tuple[str, set[World] | None]] = {
    "wrong_day": ("other_step", {World.CLOCK}),
    "wrong_jitter": ("other_call", {World.RANDOM}),
    "wrong_uuid": ("other_call", {World.RANDOM}),
    "wrong_set": ("other_call", {World.HASHES}),
    "wrong_completed": ("other_call", None),
    "wrong_loops": ("other_call", None),
    "wrong_wait": ("other_step", set()),
    "wrong_counter": ("other_call", set()),
    "wrong_told_aside": ("other_call", set()),
    "wrong_zone": ("other_call", {World.ENVIRONMENT}),
    "wrong_host": ("other_call", {World.ENVIRONMENT}),
    "wrong_folder": ("other_call", {World.ENVIRONMENT}),
}
RIGHT = [
    "right_day",
    "right_jitter",
    "right_seeded",
    "right_uuid",
    "right_set",
    "right_gathered",
    "right_loops",
    "right_wait",
    "right_counter",
    "right_told_aside",
    "right_locale",
    "right_zone",
    "right_folder",
    "right_waits",
    "right_limit",
    "right_other_result",
    "right_refused",
]


@pytest.fixture(autouse=True)
def _a_file_in_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "given.txt").write_text("given")


@pytest.mark.parametrize("workflow", nightly_but(WRONG, "wrong_day", "wrong_set", "wrong_counter"))
def test_a_divergence_is_found_and_named(server: DatabaseUrl, workflow: str) -> None:
    kind, worlds = WRONG[workflow]
    found = explored(server, workflow)
    findings = {finding.code.kind: finding for finding in found.findings if finding.is_broken}
    assert kind in findings, found.as_json()["findings"]
    least = findings[kind].least
    assert least is not None
    if worlds is not None:
        assert least.alone is not None
        assert worlds <= least.alone, least
        assert bool(worlds) == bool(least.alone), least
    assert (findings[kind].where or "").startswith("worlds.py:")
    assert not found.ok


def _is_another_locale_installed() -> bool:
    installed = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=False)
    return any(name.startswith(("de_DE", "en_")) for name in installed.stdout.splitlines())


@pytest.mark.nightly
@pytest.mark.parametrize("workflow", ["wrong_numpy", "wrong_generator"])
def test_a_body_that_draws_by_numpy_is_found(server: DatabaseUrl, workflow: str) -> None:
    found = explored(server, workflow, "worlds_numpy.py")
    (finding,) = [each for each in found.findings if each.is_broken]
    assert finding.code.kind == "other_call"
    assert finding.least is not None
    assert finding.least.alone == frozenset({World.RANDOM})


@pytest.mark.nightly
def test_a_step_that_draws_by_numpy_is_not(server: DatabaseUrl) -> None:
    found = explored(server, "right_numpy", "worlds_numpy.py")
    assert found.ok, found.as_json()


@pytest.mark.nightly
@pytest.mark.skipif(not _is_another_locale_installed(), reason="no other locale is installed")
def test_a_body_that_asks_for_the_locale_is_found(server: DatabaseUrl) -> None:
    (finding,) = [each for each in explored(server, "wrong_locale").findings if each.is_broken]
    assert finding.code.kind == "other_call"
    assert finding.least is not None
    assert finding.least.alone == frozenset({World.ENVIRONMENT})


@pytest.mark.parametrize("workflow", nightly_but(RIGHT, "right_day", "right_set", "right_limit"))
def test_a_right_body_is_not_accused(server: DatabaseUrl, workflow: str) -> None:
    found = explored(server, workflow)
    assert found.broken == [], found.as_json()["broken"]
    assert found.ok, found.as_json()


@pytest.mark.nightly
def test_a_divergence_is_told_with_both_calls_and_comes_back_by_its_line(cli: Cli) -> None:
    target = f"{WORLDS}:wrong_set"
    done = cli("determinism", target, "--template", TEMPLATE)
    assert done.code == 1, done.stdout
    assert "AX011 a checkpoint answers another call" in done.stdout
    assert "It shows when a set is iterated in another order: sort it" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("  aexp determinism")]
    assert line.endswith("then in:hashes'")
    point = line.partition("--replay '")[2].removesuffix("'")
    again = cli("determinism", target, "--template", TEMPLATE, "--replay", point, "--json")
    assert again.code == 1, again.stdout
    assert [found["kind"] for found in again.json["findings"]] == ["other_call"]
    same = point.replace("in:hashes", "in:same")
    held = cli("determinism", target, "--template", TEMPLATE, "--replay", same, "--json")
    assert held.code == 0, held.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--worlds", "clock,mars"], "'mars' is no world, which are clock, random"),
        (["--replay", END], "is a point of `aexp crash`: replay it there"),
        (["--replay", f"{END} then in:mars"], "'mars' is no world"),
        (["--replay", "lost-ack:update x#1 then in:clock"], "kills nobody who could be restarted"),
    ],
)
def test_bad_use_is_one_line(cli: Cli, arguments: list[str], told: str) -> None:
    done = cli("determinism", f"{WORLDS}:right_day", *arguments)
    assert done.code == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_point_in_a_world_is_no_point_of_crash(cli: Cli) -> None:
    done = cli("crash", f"{WORLDS}:right_day", "--replay", f"{END} then in:clock")
    assert done.code == 2
    assert "is a point of `aexp determinism`: replay it there" in done.stderr


def test_points_in_worlds_are_read_as_they_are_written() -> None:
    for worlds in (frozenset[World](), frozenset({World.CLOCK}), ALL_WORLDS):
        assert parse_point(str(_end(worlds))) == _end(worlds)
    with pytest.raises(UsageError, match="is no world"):
        parse_point(f"{END} then in:")


def explored(server: DatabaseUrl, workflow: str, module: str = WORLDS.name) -> Exploration:
    """What comes of the replays of the whole history, and of one more, in all worlds."""
    return explore(
        server,
        f"{WORLDS.with_name(module)}:{workflow}",
        worlds=ALL_WORLDS,
        points=1,
        first=_ends(),
        # The folder of the test, whoever forks a worker.
        surroundings=Surroundings(import_path=sys.path, folder=Path.cwd()),
    )


def _end(worlds: frozenset[World]) -> Point:
    written = "+".join(world for world in World if world in worlds) or "same"
    return parse_point(f"{END} then in:{written}")


def _ends() -> Sequence[Point]:
    """The replays of the whole history."""
    return [_end(ALL_WORLDS), _end(ALL_WORLDS - {World.ORDER})]
