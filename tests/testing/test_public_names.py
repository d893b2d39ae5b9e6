"""What ``aexp.testing`` offers."""

from __future__ import annotations

import aexp.testing


def test_every_name_is_there_sorted_and_nothing_else() -> None:
    assert sorted(aexp.testing.__all__) == aexp.testing.__all__
    assert set(aexp.testing.__all__) == set(aexp.testing._HOMES)
    for name in aexp.testing.__all__:
        assert getattr(aexp.testing, name).__name__ == name


def test_a_stub_is_made_of_what_is_offered() -> None:
    answer = aexp.testing.HttpAnswer(status=402)
    route = aexp.testing.HttpRoute(method="POST", path="/charges", answers=[answer])
    assert list(aexp.testing.HttpStub([route]).routes) == [route]
