"""What a command says of an error that is nobody's: the one that it is, not what wrapped it."""

from __future__ import annotations

import sys

import click
import pytest

from aexp.cli.main import cli, main
from aexp.errors import sole_error


def test_an_error_in_task_groups_is_the_one_that_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_context: click.Context) -> int:
        raise ExceptionGroup("unhandled", [ExceptionGroup("errors", [TypeError("no such thing")])])

    monkeypatch.setattr(cli, "invoke", fail)
    # Beside that one a command ends its process at once, which is ours here.
    monkeypatch.delitem(sys.modules, "obstore", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["list"])
    assert ended.value.code == 1
    told = "aexp: error: TypeError: no such thing (a bug in aexp: --debug shows where)\n"
    assert capsys.readouterr().err == told


def test_several_errors_stay_the_group_that_they_are() -> None:
    several = ExceptionGroup("unhandled", [TypeError(), ValueError()])
    assert sole_error(several) is several
    assert sole_error(ExceptionGroup("outer", [several])) is several
    error = KeyError("x")
    assert sole_error(error) is error
