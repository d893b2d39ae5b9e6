"""A module that, once it is imported, sends every connection past the database it is given."""

from __future__ import annotations

import os

from dbos import DBOS

from aexp.database import DatabaseUrl

_parse = DatabaseUrl.parse


def _straight(text: str) -> DatabaseUrl:
    return _parse(os.environ["DETOUR"]).with_name(_parse(text).name)


DatabaseUrl.parse = _straight  # type: ignore[method-assign]


@DBOS.workflow()
async def detour() -> str:
    return "round"
