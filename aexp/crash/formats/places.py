"""The place in the code that a finding is shown at."""

from __future__ import annotations

import sys
from pathlib import Path

from aexp.crash.judge.findings import Finding
from aexp.crash.results import Exploration

__all__ = ["find_place"]


def find_place(exploration: Exploration, finding: Finding) -> tuple[str, int] | None:
    """Return file and line, relative to the working folder where the file lies in it.

    A finding that knows none is shown at the top of the file that was explored: code scanning takes
    no result without a place. None where nobody knows the file.
    """
    if finding.where is not None:
        file, _, line = finding.where.rpartition(":")
        # A scenario's own may name a file alone.
        return (file, int(line)) if file and line.isdecimal() else (finding.where, 1)
    path, here = _file_of(exploration.target), Path.cwd()
    if path is None:
        return None
    return str(path.relative_to(here) if path.is_relative_to(here) else path.name), 1


def _file_of(target: str) -> Path | None:
    # Of a target that is a file or, as that of a test is, a module which this process has imported.
    name = target.partition(" in ")[0].rpartition(":")[0]
    file = name if name.endswith(".py") else getattr(sys.modules.get(name), "__file__", None)
    return Path(file).absolute() if isinstance(file, str) else None
