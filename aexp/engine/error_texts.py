"""What DBOS 3.4 says in its errors, as far as somebody has to understand it."""

from __future__ import annotations

import re

__all__ = ["UNEXPECTED_STEP", "renamed_workflow"]

# The name of the error of a body that calls another step than the one that is recorded.
UNEXPECTED_STEP = "DBOSUnexpectedStepError"
# ``_sys_db.py``, ``_insert_workflow_status``.
_RENAMED = re.compile(r"different function name: (\S+), but the provided function name is: (\S+)")


def renamed_workflow(text: str) -> tuple[str, str] | None:
    """Return the name under which a workflow began and the one that is asked for now, where that
    is what the error says.
    """
    found = _RENAMED.search(text)
    return None if found is None else (found[1], found[2])
