"""SARIF 2.1.0, which code scanning reads.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import aexp
from aexp.crash.formats.places import find_place
from aexp.crash.judge.codes import CODES
from aexp.crash.judge.findings import Finding
from aexp.crash.results import Exploration
from aexp.model.plain import to_text

__all__ = ["render_sarif", "sarif_results"]

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif_results(exploration: Exploration) -> Sequence[Mapping[str, Any]]:
    """Return a result for each finding, as JSON values."""
    return [_result(exploration, finding) for finding in exploration.findings]


def render_sarif(results: Sequence[Mapping[str, Any]]) -> str:
    """Render one run of the tool with these results, and a rule for each code."""
    return to_text(
        {
            "$schema": _SCHEMA,
            "version": "2.1.0",
            "runs": [
                {
                    "tool": {
                        "driver": {
                            "name": "aexp",
                            "version": aexp.__version__,
                            "rules": [
                                {
                                    "id": code.code,
                                    "name": code.kind or "promise",
                                    "shortDescription": {"text": code.title},
                                    "fullDescription": {"text": code.meaning},
                                }
                                for code in CODES
                            ],
                        }
                    },
                    "results": list(results),
                }
            ],
        }
    )


def _result(exploration: Exploration, finding: Finding) -> Mapping[str, Any]:
    replay = exploration.replay_of(finding.replayed_by)
    result: dict[str, Any] = {
        "ruleId": finding.code.code,
        "level": "error" if finding.is_broken else "note",
        "message": {"text": f"{exploration.scenario}: {finding.told}"},
        "partialFingerprints": {
            "aexp/v1": f"{exploration.scenario} {finding.code.code} {finding.example.anomaly.cause}"
        },
        "properties": {"points": finding.points, "replay": replay},
    }
    place = find_place(exploration, finding)
    if place is not None:
        result["locations"] = [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(place[0])},
                    "region": {"startLine": place[1]},
                }
            }
        ]
    return result
