"""A batch becomes rows: whatever a message holds, the database gives back."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from aexp.database.connect import Connection
from aexp.scenarios.resume.delivery import COLUMNS, Batch, copy_text
from aexp.scenarios.resume.messages import read_chunk, scan_file, split_file

NASTY = [
    r'{"path": "C:\\temp\\new", "end": "\\."}',
    '{"a":\t1,\r"b": "\\t\\n\\u0007"}',
    r'{"null": "\\N", "unicode": "\u00e9\ud83d\ude00 é😀"}',
    '{"separators": "\u2028\u0085\x7f"}',
    "{}",
]


async def _loaded(bodies: Sequence[str]) -> Sequence[str]:
    return bodies


def batch_of(bodies: Sequence[str], *, run_id: str, first: int, channels: Sequence[str]) -> Batch:
    return Batch(
        run_id=run_id,
        first=first,
        channels=channels,
        load=lambda: _loaded(bodies),
        latency_s=0,
        refuse=lambda _attempt: None,
    )


@pytest.mark.asyncio
@pytest.mark.parametrize("bodies", [NASTY, ["{}"] * 4, []], ids=["nasty", "plain", "none"])
async def test_copy_gives_back_every_body(
    connection: Connection, tmp_path: Path, bodies: list[str]
) -> None:
    batch = batch_of(bodies, run_id="r\t1\\", first=7, channels=["a", "b\\n", "c"])
    table = tmp_path / "rows"
    table.write_bytes(copy_text(batch, bodies))

    await connection.copy_to_table(
        "publications", schema_name="aexp", columns=COLUMNS, source=table
    )

    rows = await connection.fetch(
        "SELECT run_id, position, channel, body::text, pid FROM aexp.publications ORDER BY position"
    )
    assert [tuple(row) for row in rows] == [
        ("r\t1\\", 7 + n, ["a", "b\\n", "c"][(7 + n) % 3], body, os.getpid())
        for n, body in enumerate(bodies)
    ]


def test_the_nasty_bodies_are_what_an_input_may_hold(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(NASTY), encoding="utf-8", newline="")

    scan_file(path)

    assert [body for chunk in split_file(path, 2) for body in read_chunk(path, chunk)] == NASTY
    assert all(json.loads(body) is not None for body in NASTY)
