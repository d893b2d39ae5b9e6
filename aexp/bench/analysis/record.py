"""A result from its cells: when they have been measured, and again from the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aexp.bench.analysis.outlook import Outlook, outlook
from aexp.bench.analysis.result import VERSION, CellResult, Result, Summary, summarise
from aexp.bench.workload import Workload
from aexp.bench.workloads.lookup import find_workload
from aexp.errors import AexpError, BadInput

__all__ = ["assemble", "read_result"]

# Its cells have all figures that the model needs.
_MODELLED = "growth-messages"
_DERIVED = {"version", "busy_cells", "failed_cells", "workloads", "outlooks", "cells"}


def assemble(
    circumstances: Mapping[str, Any],
    workloads: Sequence[tuple[str, Workload]],
    cells: Sequence[CellResult],
    failure: AexpError | None = None,
) -> Result:
    """Make a result of ``cells`` of these workloads, each with the target that finds it.

    ``failure`` is what ended the bench before its time.
    """
    summaries = [summarise(target, workload, cells) for target, workload in workloads]
    return Result(
        # One that is read again has it among its circumstances.
        circumstances={"failure": None if failure is None else str(failure), **circumstances},
        summaries=summaries,
        outlooks=list(_outlooks(summaries, circumstances["limits"])),
        cells=cells,
        failure=failure,
    )


def read_result(document: Mapping[str, Any]) -> Result:
    """Read the result that ``aexp bench --json`` wrote; its workloads must still be there.

    Raises BadInput when it is none, and UsageError when a workload is not found.
    """
    if document.get("version") != VERSION:
        raise BadInput("this is no result of `aexp bench --json`, or one of another version")
    return assemble(
        {name: value for name, value in document.items() if name not in _DERIVED},
        [find_workload(workload["target"]) for workload in document["workloads"]],
        [CellResult(**cell) for cell in document["cells"]],
    )


def _outlooks(
    summaries: Sequence[Summary], limits: Mapping[str, float | None]
) -> Iterator[Outlook]:
    """Yield what very many messages would take, by the largest cell of each way to publish them."""
    for summary in summaries:
        if summary.workload.name != _MODELLED:
            continue
        largest = {
            found.variant.point.series: found
            for found in sorted(summary.measured, key=lambda found: found.size["messages"])
            if found.variant.point is not None
        }
        for found in largest.values():
            figures = {name: figure.median for name, figure in found.figures.items()}
            looked = outlook(found.variant.name, figures, limits)
            if looked is not None:
                yield looked
