"""The messages of a run: chunks give back exactly what was put in, and bad input is named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from aexp.errors import BadInput
from aexp.scenarios.resume.messages import (
    Chunk,
    FileFacts,
    fingerprint,
    read_chunk,
    scan_file,
    split_file,
    split_numbers,
)

moderate = effort(max_examples=50, deadline=None, database=None)

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
# Unescaped, a line holds all that ends lines elsewhere: U+0085, U+2028, U+2029.
bodies = st.builds(
    json.dumps,
    st.dictionaries(st.text(max_size=4), values, max_size=3),
    ensure_ascii=st.booleans(),
    separators=st.sampled_from([None, (",", ":")]),
)
newlines = st.sampled_from(["\n", "\r\n"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the examples of a property, each of which writes its file anew."""
    return tmp_path_factory.mktemp("messages")


def write_lines(
    folder: Path, lines: Sequence[str], *, newline: str = "\n", ends: bool = True
) -> Path:
    path = folder / "in.jsonl"
    path.write_bytes((newline.join(lines) + newline * ends).encode())
    return path


def read_all(path: Path | None, chunks: Sequence[Chunk]) -> list[str]:
    # Backwards: no chunk may depend on the one before it.
    read = [read_chunk(path, chunk) for chunk in reversed(chunks)]
    return [body for bodies in reversed(read) for body in bodies]


@given(
    lines=st.lists(bodies, min_size=1, max_size=12),
    size=st.integers(1, 14),
    newline=newlines,
    ends=st.booleans(),
)
@example(lines=['{"a": "\u2028\u0085\x0b"}', "{}"], size=1, newline="\r\n", ends=False)
@moderate
def test_the_chunks_of_a_file_give_back_its_lines(
    folder: Path, lines: list[str], size: int, newline: str, ends: bool
) -> None:
    path = write_lines(folder, lines, newline=newline, ends=ends)

    chunks = list(split_file(path, size))

    assert read_all(path, chunks) == lines
    assert all(chunk.count == size for chunk in chunks[:-1])
    assert 1 <= chunks[-1].count <= size


@given(lines=st.lists(bodies, min_size=1, max_size=12), size=st.integers(1, 14))
@moderate
def test_the_chunks_of_a_file_cover_each_byte_once(
    folder: Path, lines: list[str], size: int
) -> None:
    path = write_lines(folder, lines)

    end = 0
    for chunk in split_file(path, size):
        assert chunk.offset == end
        end += chunk.length
    assert end == path.stat().st_size


def test_spaces_around_an_object_are_no_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'  {"a": " b "}\t\r\n\t{}  ')

    scan_file(path)

    assert read_all(path, list(split_file(path, 1))) == [
        '{"a": " b "}',
        "{}",
    ]


@given(messages=st.integers(0, 200), size=st.integers(1, 220))
@moderate
def test_numbered_chunks_cover_each_position_once(messages: int, size: int) -> None:
    chunks = list(split_numbers(messages, size))

    positions = [
        position for chunk in chunks for position in range(chunk.first, chunk.first + chunk.count)
    ]
    assert positions == list(range(messages))
    assert all(chunk.count == size for chunk in chunks[:-1])
    assert all(1 <= chunk.count <= size for chunk in chunks)
    assert len(read_all(None, chunks)) == messages


def test_a_numbered_message_says_its_number() -> None:
    assert read_chunk(None, Chunk(first=7, count=2)) == [
        '{"message": "Message 7"}',
        '{"message": "Message 8"}',
    ]


@given(lines=st.lists(bodies, min_size=1, max_size=12), newline=newlines, ends=st.booleans())
@moderate
def test_the_scan_and_the_fingerprint_agree(
    folder: Path, lines: list[str], newline: str, ends: bool
) -> None:
    path = write_lines(folder, lines, newline=newline, ends=ends)
    content = path.read_bytes()

    facts = scan_file(path)

    assert facts == FileFacts(len(content), len(lines), hashlib.sha256(content).hexdigest())
    assert fingerprint(path) == (facts.size, facts.sha256)


def test_the_fingerprint_of_a_changed_file_is_another(tmp_path: Path) -> None:
    before = fingerprint(write_lines(tmp_path, ['{"n": 1}', '{"n": 2}']))
    swapped = fingerprint(write_lines(tmp_path, ['{"n": 2}', '{"n": 1}']))
    longer = fingerprint(write_lines(tmp_path, ['{"n": 1}', '{"n": 2}', "{}"]))

    assert swapped[0] == before[0], "the size alone does not tell"
    assert len({before, swapped, longer}) == 3


NESTED = b'{"a":' * 100_000 + b"1" + b"}" * 100_000

BAD_LINES: dict[str, tuple[bytes, str]] = {
    "not JSON": (b"hello", "not JSON (Expecting value at column 1)"),
    "an open object": (b'{"a": 1', "not JSON (Expecting ',' delimiter at column 8)"),
    "two objects": (b"{} {}", "not JSON (Extra data at column 4)"),
    "lone carriage returns": (b"{}\r{}", "not JSON (Extra data at column "),
    "single quotes": (b"{'a': 1}", "not JSON (Expecting property name"),
    "an empty line": (b"", "not JSON (the line is empty)"),
    "a blank line": (b" \t\r", "not JSON (the line is empty)"),
    "NaN": (b'{"a": NaN}', "not JSON (NaN)"),
    "Infinity": (b'{"a": [-Infinity]}', "not JSON (-Infinity)"),
    "an array": (b"[{}]", "a JSON array, not an object"),
    "a string": (b'"{}"', "a JSON string, not an object"),
    "a number": (b"12", "a JSON number, not an object"),
    "a fraction": (b"1.5", "a JSON number, not an object"),
    "a boolean": (b"true", "a JSON boolean, not an object"),
    "null": (b"null", "a JSON null, not an object"),
    "not UTF-8": (b'{"a": "caf\xe9"}', "not UTF-8"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "not JSON (Unexpected UTF-8 BOM"),
    "deep nesting": (NESTED, "not JSON ("),
}


@pytest.mark.parametrize("what", BAD_LINES)
@pytest.mark.parametrize("number", [1, 3])
def test_the_first_bad_line_is_named(what: str, number: int, tmp_path: Path) -> None:
    bad, reason = BAD_LINES[what]
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"{}\n" * (number - 1) + bad + b"\n{}\nworse\n")

    with pytest.raises(BadInput) as raised:
        scan_file(path)

    message = str(raised.value)
    assert message.startswith(f"input {path}, line {number}: {reason}")
    assert "\n" not in message


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        '{"a": "\\u0000 \\ud800"}',
        '{"a": 1e999, "a": 2}',
        '{"NaN": "Infinity"}',
        '{"n": ' + "9" * 5000 + "}",
    ],
    ids=["empty object", "escapes", "huge and twice", "names of numbers", "5000 digits"],
)
def test_all_that_is_one_json_object_is_taken(line: str, tmp_path: Path) -> None:
    path = write_lines(tmp_path, [line])

    assert scan_file(path).lines == 1
    assert read_all(path, list(split_file(path, 1))) == [line]


def test_a_blank_line_at_the_end_is_named_too(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"{}\n{}\n\n")

    with pytest.raises(BadInput, match=r"line 3: not JSON \(the line is empty\)"):
        scan_file(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.touch()

    with pytest.raises(BadInput, match=r"in\.jsonl is empty: it must hold one JSON object a line"):
        scan_file(path)


@pytest.mark.parametrize("read", [scan_file, fingerprint])
@pytest.mark.parametrize(
    ("name", "reason"),
    [("gone.jsonl", "No such file or directory"), (".", "Is a directory")],
)
def test_what_cannot_be_read_is_refused(read: Any, name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"^cannot read input .*: {reason}$"):
        read(tmp_path / name)


def test_a_file_that_has_gone_is_bad_input_and_no_lost_connection(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot read input"):
        read_chunk(tmp_path / "gone.jsonl", Chunk(0, 1, 0, 10))
