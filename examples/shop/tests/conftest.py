"""What the tests of the shop have in common."""

import psycopg
import pytest

from shop.database import deploy


@pytest.fixture(scope="session", autouse=True)
def _deployed(aexp_template: str) -> None:
    """Make tables, queue and some mugs once: every experiment begins with a copy of them."""
    deploy(aexp_template)
    # Closed at the end, by `with`: PostgreSQL copies a database that nobody is connected to.
    with psycopg.connect(aexp_template) as connection:
        connection.execute("INSERT INTO stock VALUES ('mug', 3)")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let somebody see how a failure looks."""
    parser.addoption("--show-broken", action="store_true", help="Run the test that fails.")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker of that test known."""
    config.addinivalue_line("markers", "broken: fails on purpose")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip that test unless it is asked for."""
    if config.getoption("--show-broken"):
        return
    for item in items:
        if item.get_closest_marker("broken"):
            reason = "fails on purpose: pytest --show-broken shows how"
            item.add_marker(pytest.mark.skip(reason=reason))
