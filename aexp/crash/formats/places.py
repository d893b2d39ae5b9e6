"""The place in the code that a finding is shown at."""

from __future__ import annotations

from pathlib import Path

from aexp.crash.judge.findings import Finding
from aexp.crash.results import Exploration

__all__ = ["find_place"]


def find_place(exploration: Exploration, finding: Finding) -> tuple[str, int] | None:
    """Return file and line, relative to the working folder where the file lies in it.

    A finding that knows none is shown at the top of the file that was explored: code scanning takes
    no result without a place. None where the target is no file.
    """
    if finding.where is not None:
        file, _, line = finding.where.rpartition(":")
        # A scenario's own may name a file alone.
        return (file, int(line)) if file and line.isdecimal() else (finding.where, 1)
    file = exploration.target.rpartition(":")[0]
    if not file.endswith(".py"):
        return None
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path.name), 1
