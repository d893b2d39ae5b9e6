"""What an exploration found as one offline page: the view of its baseline, with every write marked
by what became of it when it was struck, and each broken point explained.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from aexp.crash.judge.evidence import Seen
from aexp.crash.results import Exploration, PointResult
from aexp.log import masked
from aexp.model.plain import plain
from aexp.viewer import render_page, view_data

__all__ = ["render_exploration"]

# The worst of its points says what a write is marked with.
_WORST = ("broken", "void", "held")


def render_exploration(exploration: Exploration) -> str:
    """Render the page, whole in itself."""
    return render_page(
        exploration_data(exploration), title=f"aexp {exploration.study} {exploration.scenario}"
    )


def exploration_data(exploration: Exploration) -> dict[str, Any]:
    """Return what the page draws: :func:`aexp.viewer.view_data` of the baseline,
    ``timeline.writes`` and ``crash``, the exploration as JSON with its verdict and a row for each
    kind of write.
    """
    baseline = exploration.baseline
    data = view_data(baseline.report, baseline.timeline)
    told = exploration.as_json()
    told["ok"] = exploration.ok
    told["kinds"] = [asdict(row) for row in exploration.by_kind()]
    told["void_points"] = [{"point": r.name, "reason": r.void} for r in exploration.void]
    data["crash"] = masked(plain(told))
    of_write: defaultdict[str, list[PointResult]] = defaultdict(list)
    for result in exploration.results:
        if result.point is not None:
            of_write[result.point.faults[0].write].append(result)
    data["timeline"]["writes"] = [
        _mark(exploration, seen, of_write[seen.write.point]) for seen in baseline.writes
    ]
    return data


def _mark(exploration: Exploration, seen: Seen, results: list[PointResult]) -> Mapping[str, Any]:
    verdicts = {result.name: result.verdict for result in results}
    epoch_ms = (seen.at + exploration.baseline.clock_offset_s) * 1000
    return {
        "at": max(0, round(epoch_ms) - exploration.baseline.timeline.began_at),
        "write": seen.write.point,
        "verdict": next((v for v in _WORST if v in verdicts.values()), "untried"),
        "points": verdicts,
    }
