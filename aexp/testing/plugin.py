"""The pytest plugin: options, the marker, the fixtures, and what is told at the end.

pytest loads it in every suite of an environment that has aexp: it imports the rest when a test asks
for a fixture of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from aexp.crash.request import ExplorationProgress
    from aexp.testing.explorations import Explorations
    from aexp.testing.fixture import Aexp
    from aexp.testing.outcomes import ExplorationOutcome

__all__ = ["aexp", "aexp_template"]

_MARKER = (
    "aexp(**options): options of every exploration of the test, as points=50 or"
    ' sides="before,after", see aexp.testing'
)
_ONE_NAME = (
    "a process knows one workflow or step of a name, whichever module it is in: give one of the two"
    ' another name, as by @DBOS.workflow(name="…")'
)
_OPTIONS = {
    "points": "Explore so many points at most, or all of them (all).",
    "seed": "Choose the points by this number (0).",
    "sides": "On which sides of a write: before, after, lost-ack (before,after).",
    "database-url": "The PostgreSQL to use; without one, what the settings of aexp say, and without"
    " those an embedded server.",
    "since": "The old code under which the runs of aexp.upgrade begin: a revision of git, or a"
    " folder or file.",
}
_of_item = pytest.StashKey["Aexp"]()
_terminal = pytest.StashKey["_Terminal | None"]()
_home = pytest.StashKey[Path]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("aexp", "aexp: crash tests of durable workflows")
    for name, what in _OPTIONS.items():
        group.addoption(f"--aexp-{name}", metavar=name.upper(), help=what)
        parser.addini(f"aexp_{name.replace('-', '_')}", what, default=None)
    group.addoption(
        "--aexp-replay", metavar="POINT", help="Explore this point only, as a failure names it."
    )
    group.addoption(
        "--aexp-off", action="store_true", help="Skip the tests that ask for the fixture aexp."
    )
    parser.addini("aexp_off", "Skip the tests that ask for the fixture aexp.", type="bool")
    group.addoption(
        "--aexp-sarif", metavar="FILE", help="Write what was found to FILE, for code scanning."
    )
    parser.addini("aexp_sarif", "Write what was found to this file, for code scanning.")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)
    config.stash[_home] = Path(os.environ.get("AEXP_HOME") or config.rootpath / ".aexp").absolute()
    config.stash[_terminal] = _open_terminal(config)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Reporter(config), "aexp-reporter")


def pytest_unconfigure(config: pytest.Config) -> None:
    terminal = config.stash.get(_terminal, None)
    if terminal is not None:
        terminal.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--aexp-off") or config.getini("aexp_off"):
        off = pytest.mark.skip(reason="aexp is off")
        for item in items:
            if "aexp" in getattr(item, "fixturenames", ()):
                item.add_marker(off)


@pytest.fixture(scope="session")
def _aexp_explorations(request: pytest.FixtureRequest) -> Iterator[Explorations]:
    config = request.config
    if pytest.version_tuple < (9,):
        pytest.fail(
            "aexp: its fixture tells each finding as a subtest, which takes pytest 9: pip install"
            " 'pytest>=9'",
            pytrace=False,
        )
    if sys.platform == "win32":
        pytest.fail(
            "aexp: it kills processes with the signals of POSIX: run these tests on Linux, on macOS"
            " or in WSL",
            pytrace=False,
        )
    from aexp.testing.explorations import open_explorations  # noqa: PLC0415 - see above
    from aexp.testing.fixture import one_line  # noqa: PLC0415

    url = _chosen(config, "database-url")
    with one_line():
        opening = open_explorations(url, home=config.stash[_home])
        explorations = opening.__enter__()
    try:
        terminal = config.stash[_terminal]
        if terminal is not None:
            explorations.on_progress = terminal.show
        yield explorations
    finally:
        opening.__exit__(None, None, None)


@pytest.fixture(scope="session")
def aexp_template(_aexp_explorations: Explorations) -> str:
    """Return the URL of the database of which that of each test is a copy: what the suite needs
    there is made once, by a fixture of the session.
    """
    return _aexp_explorations.template.libpq


@pytest.fixture
def aexp(request: pytest.FixtureRequest, _aexp_explorations: Explorations) -> Iterator[Aexp]:
    """Explore workflows: run them, kill their process at every durable write, go on, and judge what
    became of them.
    """
    from aexp.testing.fixture import Aexp  # noqa: PLC0415 - see above

    config = request.config
    fixture = Aexp(
        _aexp_explorations,
        request,
        _options(request),
        config.getoption("--aexp-replay"),
        _chosen(config, "since"),
    )
    request.node.stash[_of_item] = fixture
    yield fixture
    fixture.close()


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return what configuration, command line and marker say, the nearest to the test last."""
    from aexp.testing.fixture import one_line  # noqa: PLC0415 - see above
    from aexp.testing.options import check_names, read_points, read_seed  # noqa: PLC0415

    config = request.config
    found: dict[str, Any] = {}
    for name, read in (("points", read_points), ("seed", read_seed), ("sides", str)):
        text = _chosen(config, name)
        if text is not None:
            with one_line():
                found[name] = read(text)
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    found["jobs"] = max(1, (os.cpu_count() or 1) // workers)
    for marker in reversed(list(request.node.iter_markers("aexp"))):
        with one_line():
            found |= check_names(marker.args, marker.kwargs)
    return found


def _chosen(config: pytest.Config, name: str) -> str | None:
    """Return what the command line, else the configuration, says of an option."""
    given = config.getoption(f"--aexp-{name}")
    if given is None:
        given = config.getini(f"aexp_{name.replace('-', '_')}")
    return str(given) if given else None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    told = str(report.longrepr) if report.failed else ""
    if "is registered by two different functions" in told:
        report.sections.append(("aexp", _ONE_NAME))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    fixture = item.stash.get(_of_item, None)
    if fixture is not None and report.when == "teardown":
        # What a report has beside its own crosses from a process of pytest-xdist as JSON.
        report.aexp_outcomes = [outcome.as_json() for outcome in fixture.outcomes]  # type: ignore[attr-defined]
    return report


class _Reporter:
    """Tells what the tests of a session have explored, where its reports come together.

    It stops the embedded server, unless that ran before.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._outcomes: list[dict[str, Any]] = []
        self._home = config.stash[_home]
        self._ran_before = _runs(self._home)
        sarif = config.getoption("--aexp-sarif") or config.getini("aexp_sarif")
        self._sarif = config.invocation_params.dir / sarif if sarif else None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._outcomes += getattr(report, "aexp_outcomes", ())

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._outcomes:
            return
        from aexp.testing.outcomes import summary_lines  # noqa: PLC0415 - see above

        terminalreporter.write_sep("=", "aexp")
        for line in summary_lines(self._explored()):
            terminalreporter.write_line(line)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        if self._sarif is not None:
            from aexp.crash.formats import render_sarif  # noqa: PLC0415 - see above

            results = [result for one in self._explored() for result in one.results]
            self._sarif.parent.mkdir(parents=True, exist_ok=True)
            self._sarif.write_text(render_sarif(results) + "\n", encoding="utf-8")
        if not self._ran_before and _runs(self._home):
            from aexp.database import embedded  # noqa: PLC0415 - see above

            embedded.stop(self._home)

    def _explored(self) -> list[ExplorationOutcome]:
        from aexp.testing.outcomes import ExplorationOutcome  # noqa: PLC0415 - see above

        return [ExplorationOutcome(**outcome) for outcome in self._outcomes]


def _runs(home: Path) -> bool:
    """Return whether the embedded server of ``home`` runs, as far as a look at a file can tell."""
    return any(home.glob("*/postmaster.pid"))


class _Terminal:
    """The terminal, while pytest captures what tests write: how far an exploration has come stands
    behind the cursor, which stays where it is.
    """

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")

    def show(self, tally: ExplorationProgress | None) -> None:
        line = ""
        if tally is not None:
            planned = "" if tally.planned is None else f": {tally.done} of {tally.planned} points"
            line = f" aexp {tally.doing}{planned}"
        # Save the cursor, do not wrap, erase to the end of the line, write, restore (ECMA-48, DEC).
        self._file.write(f"\x1b7\x1b[?7l\x1b[K{line}\x1b[?7h\x1b8")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _open_terminal(config: pytest.Config) -> _Terminal | None:
    """Return the terminal, if there is one to draw on; it must be before anything is captured."""
    drawn = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return _Terminal() if drawn and not hasattr(config, "workerinput") else None
