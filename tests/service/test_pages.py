"""The service's pages in a real browser: start a run, see it end, open a step, see a kill."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from aexp.runs.kill_plan import MOST_KILLS
from tests.support.browser import chromium, context_of, settle
from tests.support.cli import Cli
from tests.support.service import Served, serving

TOKEN = "a-token-of-sixteen-and-more"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@contextmanager
def opened(
    browser: Browser, served: Served, complaints: list[str], width: int = 1280
) -> Iterator[Page]:
    """The page of all runs; what the browser complains of, and what it asks of others, is noted."""
    with context_of(browser, viewport={"width": width, "height": 900}) as context:
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                complaints.append(message.text) if message.type in {"error", "warning"} else None
            ),
        )
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith(served.url) else complaints.append(request.url)
            ),
        )
        page.goto(served.url)
        yield page


def expect_end(page: Page, status: str) -> None:
    """The run ends so, and the view shows it with its last process ended: it stays as it is."""
    expect(page.locator("#state")).to_have_text(status)
    expect(page.locator(".pill")).to_contain_text(status)
    expect(page.get_by_role("region", name="processes")).not_to_contain_text("still working")


def test_a_run_is_started_killed_and_looked_at(browser: Browser, served: Served) -> None:
    complaints: list[str] = []
    with opened(browser, served, complaints) as page:
        page.get_by_label("Scenario").first.select_option("resume")
        page.get_by_label("messages", exact=True).fill("12")
        expect(page.get_by_label("Kills", exact=True)).to_have_attribute("max", str(MOST_KILLS))
        page.get_by_label("Kills", exact=True).fill("1")
        page.get_by_label("Seed").fill("7")
        page.get_by_role("button", name="Start").click()

        page.wait_for_url(re.compile("/view/resume-"))
        expect_end(page, "SUCCESS")
        expect(page.get_by_text("promises held")).to_be_visible()
        expect(page.locator(".tl-cut.killed")).to_have_count(1)
        page.get_by_role("option", name=re.compile("^publish, ok")).first.click()
        expect(page.get_by_role("complementary", name="Details").locator("pre").first).to_have_text(
            "1"
        )
        expect(page.get_by_role("button", name="Cancel")).to_be_disabled()

        page.get_by_role("link", name="All runs").click()
        row = page.get_by_role("row", name=re.compile("resume-"))
        expect(row).to_contain_text("SUCCESS")
        assert complaints == []


@pytest.mark.nightly
def test_a_run_is_cancelled_resumed_and_deleted(browser: Browser, served: Served) -> None:
    complaints: list[str] = []
    run_id = served.begin("resume", {"messages": 40, "concurrency": 1, "latency_s": 0.3})
    served.await_publications(1)
    with opened(browser, served, complaints) as page:
        page.get_by_role("link", name=run_id).click()

        page.get_by_role("button", name="Cancel").click()
        expect_end(page, "CANCELLED")
        page.get_by_role("button", name="Resume").click()
        expect_end(page, "SUCCESS")

        page.get_by_role("button", name="Delete").click()
        page.get_by_role("button", name="Delete it").click()
        page.wait_for_url(f"{served.url}/")
        expect(page.get_by_text("There is no run yet.")).to_be_visible()
        assert served.client.get(f"/runs/{run_id}").status_code == 404
        assert complaints == []


def test_a_run_is_followed_again_after_a_refusal(browser: Browser, shared: Served) -> None:
    run_id = shared.begin("resume", {"messages": 200, "concurrency": 1, "latency_s": 0.5})
    with opened(browser, shared, []) as page:
        # As while all places are taken, or the database is away for a moment.
        page.route("**/events", lambda route: route.fulfill(status=503), times=1)
        with page.expect_response(lambda one: "/events" in one.url and one.status == 200):
            page.goto(f"{shared.url}/view/{run_id}")

        shared.client.post(f"/runs/{run_id}/cancel")
        expect(page.locator("#state")).to_have_text("CANCELLED")


def test_what_the_service_refuses_is_said_in_its_words(browser: Browser, shared: Served) -> None:
    complaints: list[str] = []
    with opened(browser, shared, complaints) as page:
        page.get_by_label("Scenario").first.select_option("resume")
        page.get_by_label("input", exact=True).fill("/etc/passwd")

        page.get_by_role("button", name="Start").click()

        expect(page.get_by_role("alert").first).to_contain_text("input")
        expect(page.get_by_role("button", name="Start")).to_be_enabled()
        # The browser's own word for an answer that is no success.
        assert all("status of 4" in complaint for complaint in complaints)


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_window(browser: Browser, served: Served, width: int) -> None:
    served.begin("scope", {"steps": 3, "pause_s": 0})
    with opened(browser, served, [], width) as page:
        page.get_by_role("row", name=re.compile("scope-")).wait_for()
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        settle(page)
        assert page.evaluate(overflow) == 0
        page.get_by_role("link", name=re.compile("scope-")).click()
        expect_end(page, "SUCCESS")
        settle(page)
        assert page.evaluate(overflow) == 0


def test_a_browser_gives_the_token_as_a_password(browser: Browser, cli: Cli) -> None:
    with serving(cli, token=TOKEN) as served:
        refused = httpx.get(served.url)
        assert refused.status_code == 401
        assert refused.headers.get_list("www-authenticate") == [
            'Bearer realm="aexp"',
            'Basic realm="aexp"',
        ]
        credentials = {"username": "me", "password": TOKEN}
        with context_of(browser, http_credentials=credentials) as context:
            page = context.new_page()
            page.goto(served.url)

            page.get_by_label("Scenario").first.select_option("nested")
            page.get_by_role("button", name="Start").click()

            expect_end(page, "SUCCESS")


@pytest.mark.nightly
def test_a_run_is_forked_from_a_step_and_its_fork_as_a_whole(
    browser: Browser, served: Served
) -> None:
    origin = served.client.post("/trigger_sync?scenario=resume", json={}).json()["run_id"]

    complaints: list[str] = []
    with opened(browser, served, complaints, 360) as page:
        page.goto(f"{served.url}/view/{origin}")
        # A step of a child: DBOS forks the root workflow alone.
        page.get_by_role("option", name=re.compile("^publish, ok")).first.click()
        expect(page.get_by_role("complementary", name="Details")).to_be_visible()
        expect(page.get_by_role("button", name="Fork from here")).to_have_count(0)
        page.get_by_role("option", name=re.compile("^fan_out.collect ")).click()
        page.get_by_role("button", name="Fork from here").click()
        expect(page.get_by_role("dialog")).to_contain_text(
            "Steps 1 to 2 are copied from this run, the rest from step 3 (fan_out.collect"
        )
        page.get_by_role("button", name="Fork it").click()

        page.wait_for_url(lambda url: origin not in url)
        expect(page.get_by_text(f"forked from {origin} at step 3")).to_be_visible()
        expect_end(page, "SUCCESS")
        expect(page.locator("[data-promise=nothing_lost]")).to_contain_text(
            f"steps before 3 were done by run {origin}"
        )
        page.get_by_role("link", name=f"Forked from {origin}").click()
        expect(page.get_by_role("heading", name=origin)).to_be_visible()
        expect(page.get_by_text("forked from")).to_have_count(0)

        # By keyboard; a step that there is not is refused in the service's words.
        page.get_by_role("button", name="Fork", exact=True).press("Enter")
        step = page.get_by_label("First step that the fork does itself")
        expect(step).to_be_focused()
        expect(page.get_by_role("dialog")).to_contain_text("nothing is copied")
        assert complaints == []
        step.fill("9")
        step.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("start_step is from 1 to 4, not 9")
        step.fill("1")
        step.press("Enter")
        page.wait_for_url(lambda url: origin not in url)
        expect(page.get_by_role("link", name=f"Forked from {origin}")).to_be_visible()
        expect_end(page, "SUCCESS")
    # The browser's own word for an answer that is no success.
    assert all("status of 422" in complaint for complaint in complaints)
