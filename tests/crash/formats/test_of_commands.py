"""What ``aexp crash`` found, as programs read it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from aexp.crash.formats import render_github, render_junit, render_sarif, sarif_results
from aexp.crash.judge.points import Side
from aexp.crash.results import Exploration
from aexp.database import DatabaseUrl
from tests.conftest import TEMPLATE
from tests.support.cli import Cli
from tests.support.explorations import PLANTED, explore

MODULE = PLANTED / "pairs" / "effects.py"


@pytest.fixture(scope="module")
def broken(server: DatabaseUrl) -> Exploration:
    return explore(server, f"{MODULE}:wrong_body", sides=[Side.BEFORE], points=1)


@pytest.fixture(scope="module")
def sound(server: DatabaseUrl) -> Exploration:
    return explore(server, f"{PLANTED}/bugs.py:sound", sides=[Side.BEFORE], points=1)


@pytest.mark.nightly
def test_text_tells_the_outcome_first_and_each_cause_once(cli: Cli) -> None:
    done = cli("crash", f"{MODULE}:wrong_body", "--sides", "before", "--template", TEMPLATE,
               "--format", "github")  # fmt: skip
    assert done.code == 1, done.stderr
    first, second, *_ = done.stdout.splitlines()
    assert first.startswith("wrong_body  BROKEN  without a fault: SUCCESS noted")
    assert second == "broken without a fault, 3 of 3 points broken, 3 of 3 points verified (100%)"
    text, told, line = done.stdout.partition("\n::error ")
    assert text.count("AX024 an effect in the workflow's body") == 1
    assert "  at effects.py:" in done.stdout
    assert "steps that ran more than once" in done.stdout
    # Nobody counts duplicates of a bare workflow.
    assert "–" in done.stdout
    # Beside the text, which people read in the log.
    assert told
    assert line.count("%0Aaexp crash") == 1


def test_github_is_told_the_line_of_code(broken: Exploration) -> None:
    (line,) = render_github(broken).splitlines()
    place, _, message = line.removeprefix("::error ").partition("::")
    properties = dict(part.split("=", 1) for part in place.split(","))
    assert properties["file"].endswith("effects.py")
    text = MODULE.read_text().splitlines()[int(properties["line"]) - 1]
    assert "NOTES.open" in text
    assert properties["title"].startswith("AX024 ")
    assert "happens again at each recovery%0A" in message


def test_sarif_has_a_rule_and_a_place_for_each_result(broken: Exploration) -> None:
    told = json.loads(render_sarif(sarif_results(broken)))
    assert told["version"] == "2.1.0"
    (run,) = told["runs"]
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    (result,) = [result for result in run["results"] if result["level"] == "error"]
    assert result["ruleId"] == "AX024"
    assert result["ruleId"] in rules
    (location,) = result["locations"]
    assert location["physicalLocation"]["artifactLocation"]["uri"].endswith("effects.py")
    assert location["physicalLocation"]["region"]["startLine"] > 1


@pytest.mark.parametrize("name", ["broken", "sound"])
def test_junit_has_a_case_for_each_promise(name: str, request: pytest.FixtureRequest) -> None:
    suite = ET.fromstring(render_junit(request.getfixturevalue(name))).find("testsuite")
    assert suite is not None
    cases = {case.get("name"): case.findall("failure") for case in suite.findall("testcase")}
    assert {"ends_alone", "run_ends", "same_result", "effects_in_steps", "verified"} <= set(cases)
    failed = {name for name, failures in cases.items() if failures}
    assert failed == ({"effects_in_steps"} if name == "broken" else set())
    assert suite.get("tests") == str(len(cases))
    assert suite.get("failures") == str(len(failed))


@pytest.mark.parametrize("form", ["sarif", "junit"])
def test_what_is_no_exploration_is_told_on_stderr_alone(cli: Cli, form: str) -> None:
    done = cli("crash", "nothing.py:here", "--format", form)
    assert (done.code, done.stdout) == (2, "")
    assert "nothing.py" in done.error


def test_two_formats_are_one_too_many(cli: Cli, tmp_path: Path) -> None:
    done = cli("crash", "resume", "--json", "--format", "sarif")
    assert done.code == 2
    assert "--json is --format json, and not sarif: leave one out" in done.error
    assert list(tmp_path.iterdir()) == []
