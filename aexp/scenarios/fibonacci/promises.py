"""What ``fibonacci`` promises: right results, and an event loop that was free meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aexp.model.promise import SAMPLE, Anomaly, Promise
from aexp.model.scenario import Account
from aexp.processes.loop_lag import Histogram, quantile
from aexp.scenarios.fibonacci.numbers import fibonacci

__all__ = ["MOST_LAG_P99_MS", "PROMISES", "FibonacciEvidence", "account"]

MOST_LAG_P99_MS = 50.0


@dataclass(frozen=True, slots=True)
class FibonacciEvidence:
    """What was computed, and what the processes measured while they did.

    ``asked`` are the numbers by workflow, from index 1 on; ``steps`` the results of those that are
    known, each ``{"index", "number", "value", "cpu_s", "wall_s", "pids"}``, None when the root has
    no result. ``lag_ms``, ``measured_s`` and ``cpu_s`` are of all processes that told of
    themselves together; ``cores`` is what the last of them had.
    """

    asked: Sequence[int]
    steps: Sequence[Mapping[str, Any]] | None
    offload: str
    lag_ms: Histogram
    measured_s: float
    cpu_s: float
    cores: int | None
    workers: int | None


def _results_right(evidence: FibonacciEvidence) -> Sequence[Anomaly] | None:
    if evidence.steps is None:
        return None
    anomalies = []
    found = {step["index"]: step for step in evidence.steps}
    asked = dict(enumerate(evidence.asked, start=1))
    missing = [{"index": index, "number": asked[index]} for index in asked if index not in found]
    if missing:
        anomalies.append(Anomaly(f"{len(missing)} numbers have no result", missing[:SAMPLE]))
    wrong = [
        {**step, "right": fibonacci(asked[index])}
        for index, step in found.items()
        if index in asked
        and (step["number"], step["value"]) != (asked[index], fibonacci(asked[index]))
    ]
    if wrong:
        anomalies.append(Anomaly(f"{len(wrong)} results are wrong", wrong[:SAMPLE]))
    return anomalies


def _loop_free(evidence: FibonacciEvidence) -> Sequence[Anomaly] | None:
    p99_ms = quantile(evidence.lag_ms, 0.99)
    if p99_ms is None:
        return None
    if p99_ms < MOST_LAG_P99_MS:
        return ()
    return [
        Anomaly(
            f"the loop was {p99_ms:g} ms late in one tick of a hundred:"
            f" with offload={evidence.offload} other coroutines had to wait for the computing",
            [_lag(evidence)],
        )
    ]


PROMISES: Sequence[Promise[FibonacciEvidence]] = (
    Promise("results_right", "every number is computed, and right", _results_right),
    Promise(
        "loop_free",
        f"99 of 100 ticks of the event loop are less than {MOST_LAG_P99_MS:g} ms late",
        _loop_free,
        timed=True,
    ),
)


def _lag(evidence: FibonacciEvidence) -> Mapping[str, Any]:
    return {
        "p50": quantile(evidence.lag_ms, 0.5),
        "p99": quantile(evidence.lag_ms, 0.99),
        "max": quantile(evidence.lag_ms, 1.0),
        "ticks": sum(evidence.lag_ms.values()),
    }


def account(evidence: FibonacciEvidence) -> Account:
    """Return the figures for people, as JSON values."""
    steps = evidence.steps or ()
    by_number: dict[int, list[Mapping[str, Any]]] = {}
    for step in steps:
        by_number.setdefault(step["number"], []).append(step)
    wall_s = evidence.measured_s
    return {
        "results": [
            {
                "number": number,
                "value": found[0]["value"],
                "workflows": len(found),
                "cpu_ms": _milliseconds(found, "cpu_s"),
                "step_ms": _milliseconds(found, "wall_s"),
            }
            for number, found in sorted(by_number.items())
        ],
        "computing": {
            "offload": evidence.offload,
            "cores": evidence.cores,
            "workers": evidence.workers,
            "processes_used": len({pid for step in steps for pid in step["pids"]}),
            "cpu_s": round(evidence.cpu_s, 3),
            "elapsed_s": round(wall_s, 3),
            # How many cores' worth of computing went on at a time.
            "speed_up": round(evidence.cpu_s / wall_s, 2) if wall_s else None,
        },
        "loop_lag_ms": _lag(evidence),
    }


def _milliseconds(steps: Sequence[Mapping[str, Any]], name: str) -> float:
    """Return the median of the steps' times."""
    times = sorted(float(step[name]) for step in steps)
    return round(times[len(times) // 2] * 1000, 2)
