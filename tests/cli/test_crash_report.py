"""An exploration for people."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aexp.cli.terminal.crash_report import print_exploration
from tests.cli.test_formats_of_findings import exploration


def test_kinds_of_writes_that_were_not_tried_are_named_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    untried = {"insert dbos.streams": 3, "insert public.letters + insert public.stamps": 1}
    print_exploration(replace(exploration(), untried=untried))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("not tried")]
    letters = "insert public.letters + insert public.stamps"
    assert lines == [f"not tried: insert dbos.streams (3 writes), {letters} (1 write)"]


def test_where_every_kind_was_tried_nothing_is_said_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_exploration(exploration())
    assert "not tried" not in capsys.readouterr().out
