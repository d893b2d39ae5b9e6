"""Which cases of many are tried each time, and which only with all others."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from _pytest.mark import ParameterSet

__all__ = ["nightly_but"]


def nightly_but(cases: Iterable[str], *kept: str) -> list[ParameterSet]:
    """Return ``cases`` for parametrize, all but those that are ``kept`` marked as nightly."""
    cases = list(cases)
    assert set(kept) <= set(cases), set(kept) - set(cases)
    return [pytest.param(case, marks=() if case in kept else pytest.mark.nightly) for case in cases]
