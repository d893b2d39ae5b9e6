"""The page of an exploration in real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from aexp.crash.judge.points import Side
from aexp.crash.page import render_exploration
from aexp.crash.results import Exploration
from aexp.database import DatabaseUrl
from aexp.errors import DatabaseError
from tests.support.browser import chromium, look
from tests.support.explorations import PLANTED, explore

DOUBLED = f"{PLANTED}/doubled_effect.py:SCENARIO"


@pytest.fixture(scope="module")
def found(server: DatabaseUrl) -> Exploration:
    return explore(server, DOUBLED, sides=[Side.BEFORE])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def test_a_broken_point_is_explained(found: Exploration, browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "found.html"
    path.write_text(render_exploration(found), encoding="utf-8")
    (broken,) = found.broken
    with look(browser, path) as sight:
        page = sight.page
        expect(page.locator("[data-verdict]")).to_have_text("✕ BROKEN")
        heading = page.locator("p.verdict")
        expect(heading).to_contain_text(f"{found.possible} of {found.possible} points verified")
        expect(heading).to_contain_text(f"1 of {found.possible} points broken")
        expect(page.locator("[data-outcome]")).to_contain_text("without a fault: SUCCESS")
        card = page.locator('[data-finding="AX050"]')
        expect(card).to_contain_text("each item is shipped exactly once")
        expect(card).to_contain_text(found.replay_command(broken))
        expect(card.get_by_text(broken.name, exact=True)).to_be_hidden()
        card.get_by_text("1 point", exact=True).click()
        expect(card.get_by_text(broken.name, exact=True)).to_be_visible()
        lines = card.locator("pre")
        expect(lines).to_be_hidden()
        card.get_by_text("Last log lines").click()
        expect(lines).to_contain_text(broken.log[-1])
        expect(page.locator("[data-failure]")).to_have_count(0)
        assert (sight.complaints, sight.requests) == ([], [path.as_uri()])


def test_what_ended_an_exploration_early_is_said(
    found: Exploration, browser: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "found.html"
    cut = replace(
        found,
        possible=999,
        results=[],
        unsteady=["insert a.b#1"],
        failure=DatabaseError("it's gone"),
    )
    path.write_text(render_exploration(cut), encoding="utf-8")
    with look(browser, path) as sight:
        page = sight.page
        expect(page.locator("[data-verdict]")).to_have_text("? NOT VERIFIED")
        expect(page.locator("[data-failure]")).to_have_text("It ended early: it's gone")
        expect(page.locator("p.verdict")).to_contain_text("of 999 points chosen")
        expect(page.get_by_text("1 write not in every run")).to_contain_text("insert a.b#1")
        assert sight.complaints == []
