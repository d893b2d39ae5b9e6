"""The messages of a run: numbered ones, or the lines of a JSON-lines file read by byte ranges."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aexp.errors import BadInput

__all__ = [
    "Chunk",
    "FileFacts",
    "fingerprint",
    "read_chunk",
    "scan_file",
    "split_file",
    "split_numbers",
]


_JSON_NAMES = {
    list: "array",
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
}


@dataclass(frozen=True, slots=True)
class Chunk:
    """``count`` messages from position ``first`` on.

    ``offset`` and ``length`` are bytes of the input file, or 0 for numbered messages.
    """

    first: int
    count: int
    offset: int = 0
    length: int = 0


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What identifies an input file: bytes, lines, and the SHA-256 of the whole."""

    size: int
    lines: int
    sha256: str


def scan_file(path: Path) -> FileFacts:
    """Read the whole file once, line by line; every line must be one JSON object.

    Raises BadInput naming the first line that is not.
    """
    digest = hashlib.sha256()
    size = lines = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                digest.update(line)
                size += len(line)
                lines = number
                _check_line(path, number, line)
    except OSError as error:
        raise BadInput(f"cannot read input {path}: {error.strerror}") from error
    if not lines:
        raise BadInput(f"input {path} is empty: it must hold one JSON object a line")
    return FileFacts(size, lines, digest.hexdigest())


def _no_constant(name: str) -> None:
    # Python reads NaN and Infinity, which are not JSON and which PostgreSQL refuses.
    raise ValueError(name)


def _any_integer(_digits: str) -> int:
    # Checked, not used: Python refuses to convert more than 4300 digits.
    return 0


def _check_line(path: Path, number: int, line: bytes) -> None:
    try:
        value = json.loads(
            line.decode().rstrip("\r\n"), parse_int=_any_integer, parse_constant=_no_constant
        )
    except UnicodeDecodeError as error:
        raise BadInput(f"input {path}, line {number}: not UTF-8") from error
    except json.JSONDecodeError as error:
        what = f"{error.msg} at column {error.colno}" if line.strip() else "the line is empty"
        raise BadInput(f"input {path}, line {number}: not JSON ({what})") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"input {path}, line {number}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise BadInput(
            f"input {path}, line {number}: a JSON {_JSON_NAMES[type(value)]}, not an object"
        )


def fingerprint(path: Path) -> tuple[int, str]:
    """Read size and SHA-256 of the file; raises BadInput when it cannot be read."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
            return file.tell(), digest.hexdigest()
    except OSError as error:
        raise BadInput(f"cannot read input {path}: {error.strerror}") from error


def split_numbers(messages: int, size: int) -> Iterator[Chunk]:
    """Yield ``messages`` numbered messages in chunks of at most ``size``."""
    for first in range(0, messages, size):
        yield Chunk(first, min(size, messages - first))


def split_file(path: Path, size: int) -> Iterator[Chunk]:
    """Yield the lines of ``path`` in chunks of at most ``size``, as byte ranges."""
    with path.open("rb") as file:
        first = offset = 0
        count = length = 0
        for line in file:
            count += 1
            length += len(line)
            if count == size:
                yield Chunk(first, count, offset, length)
                first, offset = first + count, offset + length
                count = length = 0
        if count:
            yield Chunk(first, count, offset, length)


def read_chunk(path: Path | None, chunk: Chunk) -> list[str]:
    """Read the messages of ``chunk``, in order: of ``path``, or made up as ``{"message": "Message
    i"}``.

    Each is the text of one JSON object, byte for byte as it stands in the input, on one line.
    Raises BadInput when the file cannot be read.
    """
    if path is None:
        return [
            f'{{"message": "Message {position}"}}'
            for position in range(chunk.first, chunk.first + chunk.count)
        ]
    try:
        with path.open("rb") as file:
            file.seek(chunk.offset)
            lines = file.read(chunk.length).removesuffix(b"\n").decode().split("\n")
    except OSError as error:
        raise BadInput(f"cannot read input {path}: {error.strerror}") from error
    return [line.strip() for line in lines]
