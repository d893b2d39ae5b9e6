"""The workloads that come with aexp, each in a module of its own."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["BUILT_IN"]

# Name → module:object, in the order in which they are shown. Imported one at a time: a cell need
# not pay for the others.
BUILT_IN: Mapping[str, str] = {
    "publish": "aexp.bench.workloads.publish:PUBLISH",
    "publish-latency": "aexp.bench.workloads.publish:LATENCY",
    "bulk": "aexp.bench.workloads.bulk:BULK",
    "steps": "aexp.bench.workloads.steps:STEPS",
    "fibonacci": "aexp.bench.workloads.fibonacci:FIBONACCI",
    "sleepers": "aexp.bench.workloads.sleepers:SLEEPERS",
    "resume": "aexp.bench.workloads.resume:RESUME",
    "overhead": "aexp.bench.workloads.overhead:OVERHEAD",
}
