"""Framing of the wire protocol, wherever the network cuts it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aexp.crash.proxy.frames import (
    FROM_CLIENT,
    FROM_SERVER,
    Ask,
    Bound,
    Framer,
    Piece,
    Reply,
    Value,
    read_bind,
    read_error,
    read_parse,
    read_tag,
    read_text,
)
from aexp.errors import ProtocolViolation

ASKED = frozenset(b"QZ")


def message(kind: str, body: bytes = b"") -> bytes:
    return kind.encode() + struct.pack("!i", 4 + len(body)) + body


def bind(portal: str, statement: str, formats: list[int], values: list[bytes | None]) -> bytes:
    """The body of a Bind message, as a client makes it."""
    body = f"{portal}\0{statement}\0".encode()
    body += struct.pack(f"!h{len(formats)}h", len(formats), *formats)
    body += struct.pack("!h", len(values))
    for value in values:
        body += struct.pack("!i", -1 if value is None else len(value)) + (value or b"")
    return body + struct.pack("!h", 0)


DIALOGUE = [
    message("Q", b"SELECT 1\0"),
    message("D", b"\0\1some row"),
    message("d", b"Q\0\0\0\4 data that looks like a message"),
    message("Z", b"I"),
    message("H"),
    message("Q", b"\0"),
    message("D", b""),
]


def fed(framer: Framer, *parts: bytes) -> list[Piece]:
    return [piece for part in parts for piece in framer.feed(part)]


def asked(pieces: list[Piece]) -> list[Piece]:
    return [piece for piece in pieces if piece.kind]


EXPECTED = [Piece(whole, whole[0]) for whole in DIALOGUE if whole[0] in ASKED]


def test_messages_are_found_wherever_the_stream_is_cut() -> None:
    stream = b"".join(DIALOGUE)
    for cut in range(len(stream) + 1):
        pieces = fed(Framer(ASKED), stream[:cut], stream[cut:])
        assert b"".join(piece.data for piece in pieces) == stream
        assert asked(pieces) == EXPECTED


def test_messages_are_found_byte_by_byte() -> None:
    stream = b"".join(DIALOGUE)
    pieces = fed(Framer(ASKED), *(stream[at : at + 1] for at in range(len(stream))))
    assert b"".join(piece.data for piece in pieces) == stream
    assert asked(pieces) == EXPECTED


messages = st.builds(message, st.sampled_from("QZDdCs"), st.binary(max_size=40))


@given(st.lists(messages, max_size=8), st.lists(st.integers(1, 60), max_size=20))
def test_nothing_is_lost_added_or_reordered(dialogue: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(dialogue)
    framer = Framer(ASKED)
    pieces: list[Piece] = []
    at = 0
    for size in [*sizes, len(stream)]:
        pieces += framer.feed(stream[at : at + size])
        at += size
    assert b"".join(piece.data for piece in pieces) == stream
    assert [piece.data for piece in asked(pieces)] == [m for m in dialogue if m[0] in ASKED]


def test_what_nobody_asks_for_is_passed_on_as_it_comes() -> None:
    framer = Framer(ASKED)
    copied = message("d", bytes(1000))
    assert framer.feed(copied[:4]) == []  # its size is not known yet
    assert framer.feed(copied[4:10]) == [Piece(copied[:10])]
    assert framer.feed(copied[10:600]) == [Piece(copied[10:600])]
    assert framer.feed(copied[600:] + DIALOGUE[0]) == [Piece(copied[600:]), EXPECTED[0]]


def test_of_a_long_message_only_the_beginning_is_held() -> None:
    framer = Framer(ASKED, longest_bytes=100)
    long = message("Q", b"x" * 500)
    assert framer.feed(long[:99]) == []
    assert framer.feed(long[99:120]) == [Piece(long[:120], Ask.QUERY)]
    rest = framer.feed(long[120:] + DIALOGUE[3])
    assert rest == [Piece(long[120:]), Piece(DIALOGUE[3], Reply.READY)]


def test_one_that_is_too_long_but_whole_is_whole() -> None:
    long = message("Q", b"x" * 500)
    assert Framer(ASKED, longest_bytes=100).feed(long) == [Piece(long, Ask.QUERY)]


@pytest.mark.parametrize("size", [0, 3])
def test_a_message_shorter_than_its_own_header_is_refused(size: int) -> None:
    with pytest.raises(ProtocolViolation, match="'Q'"):
        Framer(ASKED).feed(b"Q" + struct.pack("!i", size))


def test_both_directions_ask_for_what_decides() -> None:
    assert frozenset(b"QPBECScf") == FROM_CLIENT
    assert frozenset(b"CIsEGZ") == FROM_SERVER


def test_parameters_are_read_in_their_formats() -> None:
    body = bind("p", "s", [0, 1, 0], [b"text", b"\0\0\0\7", None])
    assert read_bind(body) == Bound(
        "p",
        "s",
        (Value(b"text", binary=False), Value(b"\0\0\0\7", binary=True), Value(None, False)),
    )


@pytest.mark.parametrize(("formats", "binary"), [([], False), ([0], False), ([1], True)])
def test_one_format_or_none_is_that_of_all(formats: list[int], binary: bool) -> None:
    bound = read_bind(bind("", "", formats, [b"a", b"b"]))
    assert bound.values == (Value(b"a", binary), Value(b"b", binary))


def test_of_a_bind_that_is_not_whole_the_first_parameters_are_read() -> None:
    body = bind("", "s", [1], [b"first", b"second", b"x" * 1000])
    for length in range(len(body)):
        bound = read_bind(body[:length])
        assert bound.values == read_bind(body).values[: len(bound.values)]
    assert [value.data for value in read_bind(body[:100]).values] == [b"first", b"second"]


def test_an_error_tells_its_code_and_its_text() -> None:
    fields = [b"SERROR", b"C53100", "Mkein Platz für x".encode(), b"Hwait", b"", b""]
    assert read_error(b"\0".join(fields)) == ("53100", "kein Platz für x")
    assert read_error(b"SERR") == ("", "")


def test_words_are_read() -> None:
    assert read_text(b"SELECT '\xc3\xa9'\0") == "SELECT 'é'"
    assert read_text(b"SELECT '\xe9'\0") == "SELECT '\N{REPLACEMENT CHARACTER}'"
    assert read_parse(b"name\0COMMIT\0\0\0") == ("name", "COMMIT")


@pytest.mark.parametrize(
    ("tag", "command", "rows"),
    [
        (b"INSERT 0 5\0", "INSERT", 5),
        (b"UPDATE 0\0", "UPDATE", 0),
        (b"COPY 3\0", "COPY", 3),
        (b"COMMIT\0", "COMMIT", None),
        (b"CREATE TABLE\0", "CREATE", None),
        (b"\0", "", None),
    ],
)
def test_command_tags_tell_rows(tag: bytes, command: str, rows: int | None) -> None:
    assert read_tag(tag) == (command, rows)
