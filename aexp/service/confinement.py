"""Which files and servers a request may name.

A parameter of type Path, and a folder that one with NAMES_PLACE names, must lie below the service's
input root, links followed. Without a root none may be named. Links that lead out of such a folder
are no objects of its store. A server or a bucket may be named only where the service was told so:
whoever sends requests could otherwise make it talk to what only it can reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote, urlsplit

from aexp.model.parameters import NAMES_PLACE
from aexp.model.scenario import Scenario
from aexp.service.problems import FORBIDDEN_PARAMETER, RequestRefused

__all__ = ["confine"]


def confine(
    scenario: Scenario[Any],
    given: Mapping[str, Any],
    *,
    root: Path | None,
    allow_outbound: bool,
) -> dict[str, Any]:
    """Return ``given`` with the real path of each file that it names.

    Blocks: it looks at files. Raises RequestRefused, and InvalidParameter.
    """
    fields = scenario.parameters.model_fields
    paths = [
        name
        for name, field in fields.items()
        if field.annotation is Path or Path in get_args(field.annotation)
    ]
    places = [name for name, field in fields.items() if field.json_schema_extra == NAMES_PLACE]
    confined = dict(given)
    for name in [*paths, *places]:
        value = confined.get(name)
        if isinstance(value, str) and ":" not in value.partition("/")[0] and root is not None:
            confined[name] = str(root / value)
    model = scenario.validate(confined)
    for name in paths:
        if confined.get(name) is not None:
            confined[name] = str(_below(root, name, getattr(model, name)))
    for name in places:
        if confined.get(name) is not None:
            confined[name] = _place(root, name, getattr(model, name), allow_outbound=allow_outbound)
    return confined


def _place(root: Path | None, name: str, value: str, *, allow_outbound: bool) -> str:
    if value == "memory:":
        return value
    if value.startswith("file:///"):
        return _below(root, name, Path(unquote(urlsplit(value).path))).as_uri()
    if not allow_outbound:
        raise RequestRefused(
            FORBIDDEN_PARAMETER,
            f"{name} names a server, and this service was not started with --allow-outbound",
        )
    return value


def _below(root: Path | None, name: str, path: Path) -> Path:
    """Return ``path`` without links, if it lies below ``root``."""
    if root is None:
        raise RequestRefused(
            FORBIDDEN_PARAMETER,
            f"{name} names a file, and this service was not started with --input-root",
        )
    outside = RequestRefused(FORBIDDEN_PARAMETER, f"{name} must lie below the input root")
    try:
        base, real = root.resolve(strict=True), path.resolve()
        special = real.exists() and not (real.is_file() or real.is_dir())
    except (OSError, RuntimeError, ValueError) as error:
        # A loop of links, a name that is too long, a byte that no path has.
        raise outside from error
    if not real.is_relative_to(base) or special:
        raise outside
    return real
