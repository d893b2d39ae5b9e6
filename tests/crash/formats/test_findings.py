"""How findings are written for programs, whatever they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast
from xml.etree import ElementTree as ET

import pytest

from aexp.audit import Report
from aexp.crash.formats import render_github, render_junit, render_sarif, sarif_results
from aexp.crash.judge.points import parse_point
from aexp.crash.results import Baseline, Exploration, PointResult
from aexp.model.promise import Anomaly, Verdict
from aexp.viewer import Timeline

POINT = parse_point("before:insert public.letters [~]#1")


def exploration(
    *anomalies: Anomaly, target: str = "shop.py:sell", void: str | None = None
) -> Exploration:
    verdict = Verdict("same_rows", "tables end with the same rows\0", anomalies)
    baseline = Baseline(
        writes=[],
        clock_offset_s=0.0,
        seconds=1.0,
        verdicts=[Verdict("ends_alone", "it ends", ())],
        # Nothing of these is written.
        report=cast(Report, None),
        timeline=cast(Timeline, None),
        status="SUCCESS",
        outcome="sold",
    )
    return Exploration(
        scenario="sell",
        target=target,
        parameters={},
        seed=0,
        jobs=1,
        baseline=baseline,
        planned=[POINT],
        possible=1,
        unsteady=[],
        results=[PointResult(POINT, [verdict], void=void)],
        elapsed_s=1.0,
        exploring_s=1.0,
        replay=["aexp", "crash", "shop.py:sell"],
    )


ODD = Anomaly("100% of <rows>\r\n::error::\x00\ud800 ]]>", kind="rows_repeated")


def test_what_a_finding_says_never_ends_its_line_or_its_element() -> None:
    found = exploration(ODD)
    (line,) = render_github(found).splitlines()
    assert line.startswith("::error file=shop.py,line=1,title=AX020 ")
    assert "::100%25 of <rows>%0D%0A::error::" in line
    suite = ET.fromstring(render_junit(found)).find("testsuite")
    assert suite is not None
    (failure,) = suite.iter("failure")
    assert failure.get("type") == "AX020"
    assert "100% of <rows>" in str(failure.get("message"))
    assert "aexp crash shop.py:sell --replay 'before:insert public.letters [~]#1'" in str(
        failure.text
    )
    (result,) = json.loads(render_sarif(sarif_results(found)))["runs"][0]["results"]
    assert "100% of <rows>\r\n::error::\x00" in result["message"]["text"]


@pytest.mark.parametrize(
    ("where", "target", "place"),
    [
        ("my flows.py:31", "shop.py:sell", ("my%20flows.py", 31)),
        ("flows.py", "shop.py:sell", ("flows.py", 1)),
        (None, "{here}/src/shop.py:sell", ("src/shop.py", 1)),
        (None, "/elsewhere/shop.py:sell", ("shop.py", 1)),
        (None, "resume", None),
    ],
)
def test_a_finding_has_a_place_wherever_there_is_a_file(
    where: str | None, target: str, place: tuple[str, int] | None
) -> None:
    anomaly = Anomaly("3 rows", kind="rows_repeated", where=where)
    found = exploration(anomaly, target=target.format(here=Path.cwd()))
    (result,) = json.loads(render_sarif(sarif_results(found)))["runs"][0]["results"]
    locations = [location["physicalLocation"] for location in result.get("locations", ())]
    assert [
        (location["artifactLocation"]["uri"], location["region"]["startLine"])
        for location in locations
    ] == ([] if place is None else [place])


def test_what_is_not_verified_fails_without_a_finding() -> None:
    held, void = exploration(), exploration(void="its write did not come")
    assert render_github(held) == ""
    (line,) = render_github(void).splitlines()
    assert line == "::error title=NOT VERIFIED (sell)::0 of 1 points verified"
    failures = [
        [failure.get("type") for failure in ET.fromstring(render_junit(each)).iter("failure")]
        for each in (held, void)
    ]
    assert failures == [[], ["NOT VERIFIED"]]
