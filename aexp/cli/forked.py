"""``aexp`` in a process that is forked from one which has imported what most commands need."""

from __future__ import annotations

import atexit
import importlib
import sys
import threading
from collections.abc import Mapping
from typing import Any

from aexp.engine.late_imports import import_late

__all__ = ["be_command", "warm"]

# No scenario is among them: their modules register workflows, which belong to each process.
_NEEDED = (
    "aexp.__main__",
    "aexp.cli.actions.run",
    "aexp.cli.commands.run",
    "aexp.scenarios.target",
)


def warm() -> None:
    """Import what work on a run needs."""
    import_late()
    for name in _NEEDED:
        importlib.import_module(name)


def be_command(job: Mapping[str, Any]) -> int:
    """Be ``python -m aexp`` with the ``arguments`` of ``job``, to the end of this process."""
    program = importlib.import_module("aexp.__main__")
    # Processes of anyio.to_process look there for what they have to import again.
    sys.modules["__main__"] = program
    sys.argv = [str(program.__file__), *job["arguments"]]
    try:
        code: int = program.main()
        return code
    finally:
        # As the end of an interpreter does, and that of a fork does not.
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
        atexit._run_exitfuncs()  # noqa: SLF001
