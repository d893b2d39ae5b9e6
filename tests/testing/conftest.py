"""Suites of somebody's own are run by ``pytester``."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def as_a_user(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder of the suite, and as if no other pytest were there."""
    monkeypatch.chdir(pytester.path)
    # What a run of pytest tells its own children.
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
        monkeypatch.delenv(name)
