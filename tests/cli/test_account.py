"""An account for people: each section in the form that its shape asks for."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from aexp.cli.terminal.account import section


def told(title: str, value: Any) -> list[str]:
    """What a terminal of 100 columns shows, without the blanks at the ends of lines."""
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        console.print(section(title, value))
    return [line.rstrip() for line in capture.get().splitlines()]


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        ({"asked": 20_000, "never": 0}, ["messages   asked  never", "          20,000      0"]),
        (
            {"one": {"local": 1, "kept": True}, "two": {"local": None, "kept": False}},
            ["messages  local  kept", "one           1   yes", "two           –    no"],
        ),
        (
            [{"name": "a", "pid": 12345}, {"name": "bcd", "bodies": 1234}],
            [
                "messages  name    pid  bodies",
                "          a     12345",
                "          bcd           1,234",
            ],
        ),
        (7, ["messages  7"]),
        ("a note", ["messages  a note"]),
        (
            {
                "name": "root",
                "mode": None,
                "began_s": 0.5,
                "children": [{"name": "leaf", "children": []}],
            },
            ["messages", "└── root  began s 0.5", "    └── leaf"],
        ),
    ],
)
def test_a_section_takes_its_form_from_its_shape(value: Any, lines: list[str]) -> None:
    assert told("messages", value) == lines
