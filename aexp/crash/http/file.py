"""Read the routes of a stub from a file: YAML, a list of routes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from aexp.crash.http.routes import HttpAnswer, HttpRoute
from aexp.errors import BadInput

__all__ = ["parse_routes", "read_routes"]

_ANSWER = tuple(each.name for each in fields(HttpAnswer))
_ROUTE = tuple(each.name for each in fields(HttpRoute))
_ROUTES = TypeAdapter(list[HttpRoute])
_FORM = "write a list of routes, such as `- {method: POST, path: /charges, status: 201}`"

_Place = tuple[int | str, ...]


def read_routes(path: Path) -> Sequence[HttpRoute]:
    """Read the routes of the file; raises BadInput with the line of what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is no text in UTF-8") from error
    return parse_routes(text, str(path))


def parse_routes(text: str, source: str) -> Sequence[HttpRoute]:
    """Parse the routes in ``text``; errors name its ``source``.

    What belongs to an answer may stand in a route itself, which has one answer then.
    """
    document = _parse(text, source)
    given = document.value
    if not isinstance(given, list) or not given:
        raise BadInput(f"{source}: it has no routes: {_FORM}")
    for place, route in enumerate(given):
        if not isinstance(route, Mapping):
            raise document.error((place,), f"{route!r} is no route: {_FORM}")
        flat = [key for key in _ANSWER if key in route]
        if flat and "answers" in route:
            raise document.error(
                (place, flat[0]), f"{flat[0]} and answers are both given: move it into answers"
            )
    try:
        return _ROUTES.validate_python([_nested(route) for route in given])
    except ValidationError as error:
        first = error.errors()[0]
        raise document.error(first["loc"], _problem(first)) from error


def _nested(route: Mapping[str, Any]) -> Mapping[str, Any]:
    flat = {key: value for key, value in route.items() if key in _ANSWER}
    others = {key: value for key, value in route.items() if key not in _ANSWER}
    return {**others, "answers": [flat]} if flat else others


def _problem(error: ErrorDetails) -> str:
    key = str(error["loc"][-1])
    if error["type"] == "unexpected_keyword_argument":
        of_answer = "answers" in error["loc"]
        known = _ANSWER if of_answer else tuple(dict.fromkeys([*_ROUTE, *_ANSWER]))
        nearest = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(known)}"
        return f"{key} is no key of {'an answer' if of_answer else 'a route'}: {hint}"
    if error["type"] in {"missing", "missing_argument"}:
        return f"the route has no {key}: {_FORM}"
    message = error["msg"].removeprefix("Value error, ")
    named = next((part for part in reversed(error["loc"]) if part in {*_ROUTE, *_ANSWER}), "route")
    return f"{named}: {message[:1].lower()}{message[1:]}"


@dataclass(frozen=True, slots=True)
class _Document:
    """A document's value, and the node of it that has the lines."""

    source: str
    value: Any
    node: yaml.Node | None

    def error(self, place: _Place, problem: str) -> BadInput:
        """Return the error that something is wrong at a place of the value."""
        return BadInput(f"{self.source}:{self._line(place)}: {problem}")

    def _line(self, place: _Place) -> int:
        node, line = self.node, 1
        for part in place:
            if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                if part >= len(node.value):
                    break
                node = node.value[part]
                line = node.start_mark.line + 1
            elif isinstance(node, yaml.MappingNode):
                # An answer that stands in its route has no part of the place to itself.
                found = [pair for pair in node.value if pair[0].value == part]
                if found:
                    line, node = found[0][0].start_mark.line + 1, found[0][1]
        return line


def _parse(text: str, source: str) -> _Document:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return _Document(source, None, None)
        _require_keys_once(node, source, set())
        return _Document(source, loader.construct_document(node), node)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark is not None else ""
        problem = error.problem or error.context
        raise BadInput(f"{source}{line}: it is not YAML: {problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadInput(f"{source}: it is not YAML: {' '.join(str(error).split())}") from error
    finally:
        loader.dispose()


def _require_keys_once(node: yaml.Node, source: str, seen: set[int]) -> None:
    """Raise BadInput for a key that stands twice in a mapping, of which YAML takes the last."""
    if id(node) in seen or not isinstance(node, yaml.CollectionNode):
        return
    seen.add(id(node))
    keys: set[str] = set()
    for child in node.value:
        pair = child if isinstance(child, tuple) else (child,)
        if len(pair) == 2 and isinstance(pair[0], yaml.ScalarNode):
            if pair[0].value in keys:
                line = pair[0].start_mark.line + 1
                raise BadInput(f"{source}:{line}: {pair[0].value} stands twice: leave one out")
            keys.add(pair[0].value)
        for inner in pair:
            _require_keys_once(inner, source, seen)
