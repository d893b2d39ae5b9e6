"""JUnit's XML, as test reports read it: a case for each promise, which fails by what was found."""

from __future__ import annotations

import re
from collections import defaultdict
from xml.etree import ElementTree as ET

from aexp.crash.judge.findings import Finding
from aexp.crash.results import Exploration

__all__ = ["render_junit"]

# What XML 1.0 cannot hold.
_FORBIDDEN = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")


def render_junit(exploration: Exploration) -> str:
    """Render one suite; points that could not be verified are a case of their own that fails."""
    by_promise: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in exploration.findings:
        if finding.is_broken:
            by_promise[finding.promise].append(finding)
    judged: dict[str, str] = {}
    alone = exploration.baseline.verdicts
    for verdict in (*alone, *(v for result in exploration.verified for v in result.verdicts)):
        if verdict.held is not None:
            judged.setdefault(verdict.name, verdict.statement)
    unverified = not exploration.broken and not exploration.ok
    failures = len(by_promise) + unverified
    suite = ET.Element(
        "testsuite",
        name=f"aexp crash {exploration.scenario}",
        tests=str(len(judged) + 1),
        failures=str(failures),
        errors="0",
        skipped="0",
        time=f"{exploration.elapsed_s:.3f}",
    )
    for name, statement in judged.items():
        case = ET.SubElement(suite, "testcase", classname=exploration.scenario, name=_plain(name))
        for finding in by_promise.get(name, ()):
            failure = ET.SubElement(
                case,
                "failure",
                type=finding.code.code,
                message=_plain(f"{finding.code.title}: {finding.told}"),
            )
            replay = exploration.replay_of(finding.replayed_by)
            points = "\n".join(finding.points)
            failure.text = _plain(f"{statement}\n{finding.told}\n{points}\n{replay}")
    case = ET.SubElement(suite, "testcase", classname=exploration.scenario, name="verified")
    if unverified:
        what = f"{len(exploration.verified)} of {len(exploration.planned)} points verified"
        ET.SubElement(case, "failure", type="NOT VERIFIED", message=what)
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _plain(text: str) -> str:
    return _FORBIDDEN.sub("�", text)
