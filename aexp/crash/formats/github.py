"""Workflow commands of GitHub Actions: a line for each finding, shown at the line of code.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

from aexp.crash.formats.places import find_place
from aexp.crash.judge.findings import Finding
from aexp.crash.results import Exploration

__all__ = ["render_github"]


def render_github(exploration: Exploration) -> str:
    """Render a line for each finding: ``::error`` for a broken promise, ``::notice`` for what is
    only told. Where nothing is broken and not all is verified, that is an error, too.
    """
    lines = [_line(exploration, finding) for finding in exploration.findings]
    if not exploration.ok and not exploration.broken:
        what = f"{len(exploration.verified)} of {len(exploration.planned)} points verified"
        lines.append(f"::error title={_property(f'NOT VERIFIED ({exploration.scenario})')}::{what}")
    return "".join(f"{line}\n" for line in lines)


def _line(exploration: Exploration, finding: Finding) -> str:
    title = f"{finding.code.code} {finding.code.title} ({exploration.scenario})"
    properties = {"title": title}
    place = find_place(exploration, finding)
    if place is not None:
        properties = {"file": place[0], "line": str(place[1]), **properties}
    given = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    message = finding.told
    if finding.is_broken:
        message += f"\n{exploration.replay_of(finding.replayed_by)}"
    return f"::{'error' if finding.is_broken else 'notice'} {given}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
