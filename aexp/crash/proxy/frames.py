"""Frames of PostgreSQL's wire protocol, version 3, in both directions: where a message begins and
ends, and what a few of them say (PostgreSQL 18 documentation, 54.7 "Message Formats").

Nothing here waits or knows of a socket. What nobody asks for is passed on as it comes, rows and
COPY data above all: at most LONGEST_BYTES of a connection are ever held.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from aexp.errors import ProtocolViolation

__all__ = [
    "FLUSH",
    "FROM_CLIENT",
    "FROM_SERVER",
    "LONGEST_STARTUP_BYTES",
    "REFUSED",
    "UNENCRYPTED",
    "Ask",
    "Bound",
    "Framer",
    "Piece",
    "Reply",
    "Value",
    "read_bind",
    "read_error",
    "read_parse",
    "read_tag",
    "read_text",
]

# Of a longer message only so much is read; its rest is passed on as it comes.
LONGEST_BYTES = 256 * 1024
LONGEST_STARTUP_BYTES = 10_000  # MAX_STARTUP_PACKET_LENGTH of the server
# SSLRequest and GSSENCRequest: "will you speak encrypted?"
UNENCRYPTED = frozenset({80877103, 80877104})
REFUSED = b"N"
FLUSH = b"H\x00\x00\x00\x04"
_HEADER_BYTES = 5


class Ask(IntEnum):
    """Messages of the client that say what will be written."""

    QUERY = ord("Q")
    PARSE = ord("P")
    BIND = ord("B")
    EXECUTE = ord("E")
    CLOSE = ord("C")
    SYNC = ord("S")
    COPY_DONE = ord("c")
    COPY_FAIL = ord("f")


class Reply(IntEnum):
    """Messages of the server that say what became of it."""

    COMPLETE = ord("C")
    EMPTY = ord("I")
    SUSPENDED = ord("s")
    ERROR = ord("E")
    COPY_IN = ord("G")
    READY = ord("Z")


FROM_CLIENT = frozenset(int(kind) for kind in Ask)
FROM_SERVER = frozenset(int(kind) for kind in Reply)


class Piece(NamedTuple):
    """Bytes to pass on. With a ``kind``, they are one message of it, header included, or the
    beginning of one that is too long to hold.
    """

    data: bytes
    kind: int = 0

    @property
    def body(self) -> bytes:
        """The message without its header."""
        return self.data[_HEADER_BYTES:]


class Framer:
    """Cuts one direction of a connection, after its start-up, into pieces.

    The pieces joined are what was fed, but for the beginning of a message that is not whole yet.
    """

    def __init__(self, kinds: frozenset[int], *, longest_bytes: int = LONGEST_BYTES) -> None:
        self._kinds = kinds
        self._longest = longest_bytes
        self._held = b""
        self._passing = 0

    def feed(self, data: bytes) -> list[Piece]:
        """Return what ``data``, the next bytes that arrived, brings to an end.

        Raises ProtocolViolation for what is no message.
        """
        data = self._held + data if self._held else data
        pieces: list[Piece] = []
        begun = at = 0
        while True:
            step = min(self._passing, len(data) - at)
            at += step
            self._passing -= step
            if self._passing or len(data) - at < _HEADER_BYTES:
                break
            kind = data[at]
            size = 1 + int.from_bytes(data[at + 1 : at + _HEADER_BYTES])
            if size < _HEADER_BYTES:
                raise ProtocolViolation(f"a message of kind {chr(kind)!r} says it has {size} bytes")
            if kind not in self._kinds:
                self._passing = size
                continue
            taken = min(size, len(data) - at)
            if taken < size and taken < self._longest:
                break
            if begun < at:
                pieces.append(Piece(data[begun:at]))
            pieces.append(Piece(data[at : at + taken], kind))
            self._passing = size - taken
            begun = at = at + taken
        if begun < at:
            pieces.append(Piece(data[begun:at]))
        self._held = data[at:]
        return pieces


class Value(NamedTuple):
    """A parameter as the client sent it; ``data`` is None for NULL."""

    data: bytes | None
    binary: bool


@dataclass(frozen=True, slots=True)
class Bound:
    """A Bind message: statement ``statement`` becomes portal ``portal``."""

    portal: str
    statement: str
    values: tuple[Value, ...]


def _string(body: bytes, at: int) -> tuple[str, int]:
    end = body.find(b"\0", at)
    end = len(body) if end < 0 else end
    # A client may have chosen another encoding; names and keywords are ASCII in all of them.
    return body[at:end].decode(errors="replace"), end + 1


def read_text(body: bytes) -> str:
    """Read what ``body`` begins with: the SQL of a simple query, the portal of an Execute."""
    return _string(body, 0)[0]


def read_tag(body: bytes) -> tuple[str, int | None]:
    """Read a CommandComplete: its command, and its number of rows if it has one."""
    words = read_text(body).split()
    counted = len(words) > 1 and words[-1].isdecimal()
    return (words[0] if words else ""), int(words[-1]) if counted else None


def read_error(body: bytes) -> tuple[str, str]:
    """Read SQLSTATE and text of an ErrorResponse."""
    fields: dict[int, str] = {}
    at = 0
    while at < len(body) and body[at]:
        kind = body[at]
        fields[kind], at = _string(body, at + 1)
    return fields.get(ord("C"), ""), fields.get(ord("M"), "")


def read_parse(body: bytes) -> tuple[str, str]:
    """Name and SQL of a statement to prepare."""
    name, at = _string(body, 0)
    return name, _string(body, at)[0]


def read_bind(body: bytes) -> Bound:
    """Read the parameters of a statement, as far as ``body`` goes if it is not whole."""
    portal, at = _string(body, 0)
    statement, at = _string(body, at)
    formats, at = _shorts(body, at)
    count = int.from_bytes(body[at : at + 2])
    at += 2
    values: list[Value] = []
    while len(values) < count and at + 4 <= len(body):
        size = int.from_bytes(body[at : at + 4], signed=True)
        at += 4
        if at + max(size, 0) > len(body):
            break
        # One format is every parameter's, none at all is text.
        form = formats[len(values)] if len(formats) > 1 else next(iter(formats), 0)
        values.append(Value(body[at : at + size] if size >= 0 else None, form == 1))
        at += max(size, 0)
    return Bound(portal, statement, tuple(values))


def _shorts(body: bytes, at: int) -> tuple[list[int], int]:
    count = int.from_bytes(body[at : at + 2])
    end = at + 2 + 2 * count
    found = [int.from_bytes(body[start : start + 2]) for start in range(at + 2, end, 2)]
    return found, end
