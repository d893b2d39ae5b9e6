"""Places in a list, as text that a client hands back and does not read."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from aexp.service.problems import INVALID, RequestRefused

__all__ = ["read_cursor", "write_cursor"]

_T = TypeVar("_T")


def write_cursor(place: Sequence[str | int]) -> str:
    """Write the cursor of ``place``."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def read_cursor(cursor: str, shape: type[_T]) -> _T:
    """Read the place of ``cursor``, which has this shape; raises RequestRefused."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return TypeAdapter(shape).validate_python(json.loads(text))
    except (binascii.Error, ValueError, ValidationError, RecursionError) as error:
        raise RequestRefused(INVALID, "the cursor is not one of this list's") from error
