"""Read values as DBOS stores them.

DBOS stores inputs, outputs and errors as text in a format that it names beside them: a base64
pickle (``py_pickle``) or JSON (``portable_json``), see dbos 3.4, ``_serialization.py``. Only what
the database of a run holds is unpickled, as DBOS itself does on each recovery.
"""

from __future__ import annotations

import base64
import json
import pickle
from typing import Any

__all__ = ["load_stored"]


def load_stored(stored: str, serialization: str | None) -> Any:
    """Return the value that ``stored`` holds.

    Raises ValueError when its format is not known, and whatever a class of the user's makes of its
    unpickling.
    """
    if serialization == "portable_json":
        return json.loads(stored)
    if serialization in {None, "py_pickle"}:
        return pickle.loads(base64.b64decode(stored, validate=True))  # noqa: S301 - see above
    raise ValueError(f"its format {serialization!r} is not known")
