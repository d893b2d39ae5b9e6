"""Find the code that workers import: as the test has it, and for an upgrade as it was."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aexp.crash.experiment.workers import Surroundings, TargetCode
from aexp.crash.revisions import open_upgrade
from aexp.testing.naming import NamedScenario

__all__ = ["find_code"]


@contextmanager
def find_code(
    named: NamedScenario, origin: str | None
) -> Iterator[tuple[TargetCode, TargetCode | None]]:
    """Find the code under which runs begin, and the one under which they go on where their old code
    is in ``origin``: a folder or file, else a revision of git. It is there for a context's life.

    Raises UsageError where there is no such code.
    """
    around = _surroundings()
    if origin is None:
        yield TargetCode(target=named.target, surroundings=around), None
        return
    with open_upgrade(named.target, origin, around, place=named.place) as upgrade:
        yield upgrade.old, upgrade.new


def _surroundings() -> Surroundings:
    # Which other Pythons a process of the user's starts is not for a forkserver to say.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return Surroundings(
        import_path=[str(Path(entry or ".").absolute()) for entry in sys.path],
        folder=Path.cwd(),
        variables=kept,
    )
