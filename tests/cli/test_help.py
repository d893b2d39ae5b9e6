"""What the command says when it is asked for nothing yet, and that this costs little."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from aexp.cli.main import cli as command
from tests.support.cli import Cli

# Neither help nor completion has any use for these, which take a second.
SLOW = {"aexp.settings", "asyncpg", "dbos", "psycopg", "pydantic", "sqlalchemy", "structlog"}


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of all commands below ``group``."""
    found = []
    context = click.Context(group)
    for name in group.list_commands(context):
        known = group.get_command(context, name)
        assert known is not None
        found += [(*path, name)]
        found += commands(known, (*path, name)) if isinstance(known, click.Group) else []
    return found


def imported_by(*arguments: str) -> set[str]:
    """The modules that ``aexp ARGUMENTS`` has imported by its end."""
    program = (
        "import sys; from aexp.__main__ import main\n"
        "try: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True
    )
    assert ran.stdout
    return set(ran.stderr.split())


@pytest.mark.parametrize("arguments", [[], ["db"]])
def test_without_a_command_the_help_goes_to_stdout(cli: Cli, arguments: list[str]) -> None:
    bare = cli(*arguments)
    asked = cli(*arguments, "--help")
    assert (bare.code, asked.code) == (2, 0)
    assert bare.stderr == asked.stderr == ""
    assert bare.stdout == asked.stdout
    assert "Usage: aexp" in bare.stdout


def test_the_help_shows_what_somebody_new_needs_first(cli: Cli) -> None:
    page = cli("--help").stdout
    places = [page.index(f"\n  {name} ") for name in ("list", "run", "audit", "crash", "db")]
    assert places == sorted(places)
    assert "\n  work " not in page
    assert "..." not in page.partition("Run workflows")[2]


def test_every_command_is_in_the_help_and_has_some(cli: Cli) -> None:
    shown = cli("--help").stdout + cli("db", "--help").stdout
    found = commands(command)
    assert ("db", "reset") in found
    for path in found:
        assert path == ("work",) or f"\n  {path[-1]} " in shown


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["rnu"], "did you mean 'run'?"),
        (["repot"], "did you mean 'report'?"),
        (["db", "strat"], "did you mean 'start'?"),
        # A command that nobody gives is suggested to nobody.
        (["wrok"], "did you mean 'worker'?"),
        (["frobnicate"], "No such command 'frobnicate': `aexp --help` lists them"),
        (["--frobnicate"], "No such option"),
    ],
)
def test_an_unknown_command_is_told_the_nearest(cli: Cli, arguments: list[str], hint: str) -> None:
    result = cli(*arguments)
    assert result.code == 2
    assert hint in result.error


@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["--help"], *([*path, "--help"] for path in commands(command))],
    ids=" ".join,
)
def test_help_imports_nothing_that_is_slow(arguments: list[str]) -> None:
    imported = imported_by(*arguments)
    assert "click" in imported
    assert not SLOW & imported


def test_a_command_imports_what_its_help_does_not() -> None:
    # Else the test above would not see it.
    assert imported_by("describe", "nested") >= SLOW
