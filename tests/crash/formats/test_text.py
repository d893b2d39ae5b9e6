"""An exploration for people."""

from __future__ import annotations

from dataclasses import replace

from aexp.crash.formats.text import render_exploration
from tests.crash.formats.test_findings import exploration


def test_kinds_of_writes_that_were_not_tried_are_named_in_one_line() -> None:
    untried = {"insert dbos.streams": 3, "insert public.letters + insert public.stamps": 1}
    told = render_exploration(replace(exploration(), untried=untried))
    lines = [line for line in told.splitlines() if line.startswith("not tried")]
    letters = "insert public.letters + insert public.stamps"
    assert lines == [f"not tried: insert dbos.streams (3 writes), {letters} (1 write)"]


def test_where_every_kind_was_tried_nothing_is_said_of_it() -> None:
    assert "not tried" not in render_exploration(exploration())
