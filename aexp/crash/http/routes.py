"""Routes of a stub: which requests they take, and with what they answer."""

from __future__ import annotations

import json as json_format
import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated
from urllib.parse import unquote

from pydantic import ConfigDict, Field, JsonValue, field_validator, model_validator
from pydantic.dataclasses import dataclass

__all__ = ["HttpAnswer", "HttpRoute"]

_CONFIG = ConfigDict(extra="forbid")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NAME = re.compile(r"\{(\w+)\}")
_LONGEST_DELAY_S = 3600.0


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class HttpAnswer:
    """An answer: its body is ``json`` as JSON or ``body`` as it is, and empty without either. It
    is sent after ``delay_s``.
    """

    status: Annotated[int, Field(ge=200, le=599)] = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    json: JsonValue = None
    body: str | None = None
    delay_s: Annotated[float, Field(ge=0, le=_LONGEST_DELAY_S)] = 0.0

    @field_validator("headers", mode="before")
    @classmethod
    def _with_texts(cls, headers: object) -> object:
        """Take numbers, too: ``Retry-After: 1``."""
        if not isinstance(headers, Mapping):
            return headers
        return {
            name: str(value) if type(value) is int else value for name, value in headers.items()
        }

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, headers: Mapping[str, str]) -> Mapping[str, str]:
        for name, value in headers.items():
            if not _TOKEN.fullmatch(name) or re.search(r"[\r\n\0]", value):
                raise ValueError(f"{name!r} cannot be sent as a header")
        return headers

    @field_validator("json")
    @classmethod
    def _can_be_written(cls, json: JsonValue) -> JsonValue:
        json_format.dumps(json, allow_nan=False)
        return json

    @model_validator(mode="after")
    def _has_one_body(self) -> HttpAnswer:
        if self.json is not None and self.body is not None:
            raise ValueError("json and body are both given: leave one out")
        return self

    @property
    def content(self) -> bytes:
        """The body as it is sent."""
        if self.json is not None:
            return json_format.dumps(self.json, ensure_ascii=False).encode()
        return (self.body or "").encode()

    @property
    def content_type(self) -> str | None:
        """The type of the body, unless the headers say it; None without one."""
        if self.json is not None:
            return "application/json"
        return None if self.body is None else "text/plain; charset=utf-8"


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class HttpRoute:
    """Requests of one ``method`` to one ``path``, in which ``{name}`` stands for any segment.

    The first gets the first of ``answers`` and so on, the last one is repeated. With ``idempotent``
    an ``Idempotency-Key`` that was answered before gets that answer again, unless it was a 5xx, and
    counts for nothing else. ``safe`` says that a second request does no harm, whatever the method:
    a search, a login.
    """

    method: str
    path: str
    answers: Annotated[Sequence[HttpAnswer], Field(min_length=1)] = (HttpAnswer(),)
    idempotent: bool = False
    safe: bool = False

    @field_validator("method")
    @classmethod
    def _is_a_method(cls, method: str) -> str:
        if not _TOKEN.fullmatch(method):
            raise ValueError("it must be the method of a request, such as POST")
        return method.upper()

    @field_validator("path")
    @classmethod
    def _is_a_path(cls, path: str) -> str:
        if not path.startswith("/") or re.search(r"[?#\s]", path):
            raise ValueError(
                "it must begin with / and have neither a space nor a query, whatever that of the"
                " request is"
            )
        if re.search(r"[{}]", _NAME.sub("", path)):
            raise ValueError("what stands in braces must be a name, as in /orders/{order}")
        return path

    def takes(self, method: str, path: str) -> bool:
        """Return whether it answers a request of ``method`` to ``path``, as that was sent."""
        pattern = "".join(
            "[^/]+" if _NAME.fullmatch(part) else re.escape(part)
            for part in re.split(r"(\{\w+\})", self.path)
        )
        given, _, _ = path.partition("?")
        return method == self.method and re.fullmatch(pattern, unquote(given)) is not None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"
