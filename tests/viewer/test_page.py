"""The view of a run in real Chromium: by mouse, by keyboard, in the dark, on a phone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from aexp.model.promise import Anomaly
from tests.support.browser import (
    Sight,
    chromium,
    look,
    settle,
    steady_box,
    synthetic_data,
    write_page,
)
from tests.support.cli import Cli

HOSTILE = "</script><img src=x onerror=alert(1)><script>alert(2)</script>"
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The page of a made-up run with a kill."""
    return write_page(tmp_path / "run.html", synthetic_data())


def expect_active(page: Page, beginning: str) -> str:
    """What the cursor of the timeline comes to stand on, as a screen reader says it.

    It must begin so, and the list must name it as the active one.
    """
    option = page.get_by_role("listbox").locator("[role=option].cursor")
    expect(option).to_have_attribute("aria-label", re.compile(f"^{re.escape(beginning)}"))
    active = option.get_attribute("id") or "an option without an id"
    expect(page.get_by_role("listbox")).to_have_attribute("aria-activedescendant", active)
    return option.get_attribute("aria-label") or ""


def details(page: Page) -> Any:
    return page.get_by_role("complementary", name="Details")


def quiet(sight: Sight, path: Path) -> None:
    """Nothing was asked for but the file, and nobody complained."""
    assert sight.requests == [path.as_uri()]
    assert sight.complaints == []


def contrast(page: Page, selector: str) -> float:
    """The contrast of an element's text with the first ground behind it that is not clear."""
    found: float = page.locator(selector).first.evaluate(
        """(element) => {
            const read = (text) => text.match(/[\\d.]+/g).map(Number);
            const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
              .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
              .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
            let behind = element;
            let ground = [0, 0, 0, 0];
            while (behind && ground[3] === 0) {
              const found = read(getComputedStyle(behind).backgroundColor);
              ground = found.length === 4 ? found : [...found, 1];
              behind = behind.parentElement;
            }
            const [a, b] = [light(read(getComputedStyle(element).color)), light(ground)];
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        }"""
    )
    return found


def test_a_real_run_with_kills(cli: Cli, browser: Browser) -> None:
    ran = cli("run", "resume", "--kills", "2", "--seed", "7", "--run-id", "x", "--json")
    assert ran.code == 0, ran.stderr
    assert cli("report", "x", "-o", "run.html").code == 0
    path = cli.folder / "run.html"
    with look(browser, path) as sight:
        page = sight.page
        expect(page.get_by_role("heading", level=1)).to_have_text("x")
        expect(page.locator(".pill")).to_contain_text("SUCCESS")
        expect(page.locator("[data-promise][data-held=true]")).to_have_count(7)
        expect(page.locator("[data-promise=nothing_lost]")).to_contain_text("✓ held")
        # A mark for each kill, at the end of the life that it ended.
        marks = page.locator(".tl-cut.killed")
        expect(marks).to_have_count(2)
        for number in (0, 1):
            mark = steady_box(marks.nth(number))
            life = steady_box(page.locator(".tl-life").nth(number))
            assert mark["x"] == pytest.approx(life["x"] + life["width"], abs=3)
        expect(page.get_by_role("list", name="cut short").get_by_role("listitem")).to_have_count(2)
        expect(page.get_by_role("option", name="Workflow resume.publish_messages")).to_be_visible()
        page.get_by_role("option", name=re.compile(r"^publish, ok")).first.click()
        expect(details(page).locator("pre")).to_have_text("1")
        expect(page.locator("[data-section=counters] tbody tr")).to_have_count(2)
        expect(page.locator("[data-section=messages]")).to_contain_text("asked")
        quiet(sight, path)


def test_a_bar_by_mouse(browser: Browser, path: Path) -> None:
    with look(browser, path) as sight:
        page = sight.page
        bar = page.get_by_role("option", name=re.compile("^work, ok")).first
        box = steady_box(bar)
        middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.move(*middle)
        expect(page.locator(".tl-tip")).to_contain_text("2026-03-01 12:00:0")
        page.mouse.click(*middle)
        expect(details(page)).to_contain_text("✓ ok, step")
        expect(details(page).locator("pre")).to_have_text("'done'")
        details(page).get_by_role("button", name="Close details").click()
        expect(details(page)).to_be_hidden()
        # From a bar to its workflow, and from there to its parent.
        bar.click()
        details(page).get_by_role("button", name="run.1.0").click()
        expect(details(page)).to_contain_text("through queue queue")
        details(page).get_by_role("button", name="run", exact=True).click()
        expect(details(page).get_by_role("code")).to_have_text("run")
        quiet(sight, path)


def test_everything_by_keyboard(browser: Browser, path: Path) -> None:
    with look(browser, path) as sight:
        page = sight.page
        listbox = page.get_by_role("listbox")
        for _ in range(20):
            page.keyboard.press("Tab")
            if listbox.evaluate("(element) => element === document.activeElement"):
                break
        expect(listbox).to_be_focused()
        expect(page.locator(".cursor")).to_have_css("outline-style", "solid")
        expect_active(page, "Workflow made.up, run, SUCCESS")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowRight")
        expect_active(page, "work, ok, at 0.100 s")
        page.keyboard.press("End")
        expect_active(page, "work, ok, at 7.450 s")
        page.keyboard.press("Home")
        expect_active(page, "Workflow made.up, run.1.0")
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        expect_active(page, "work, lost attempt, at 3.000 s")
        page.keyboard.press("Enter")
        expect(details(page).get_by_role("heading", level=3)).to_be_focused()
        expect(details(page)).to_contain_text("its process ended before its checkpoint")
        page.keyboard.press("Escape")
        expect(details(page)).to_be_hidden()
        expect(listbox).to_be_focused()
        expect_active(page, "work, lost attempt")
        page.keyboard.press("ArrowDown")
        expect_active(page, "work, ok")
        page.keyboard.press("Space")
        expect(details(page).locator("pre")).to_have_text("'done'")
        quiet(sight, path)


def test_zoom_and_pan(browser: Browser, path: Path) -> None:
    with look(browser, path) as sight:
        page = sight.page
        bar = page.get_by_role("option", name=re.compile("^work, ok, at 5.000 s")).first

        def expect_width(low: float, high: float) -> None:
            page.wait_for_function(
                "([low, high]) => { const box = [...document.querySelectorAll('.tl-bar')]"
                ".find((bar) => bar.ariaLabel.startsWith('work, ok, at 5.000 s'));"
                " const width = box ? box.getBoundingClientRect().width : 0;"
                " return low <= width && width <= high; }",
                arg=[low, high],
            )

        whole = steady_box(bar)["width"]
        page.get_by_role("button", name="Zoom in").click()
        expect_width(whole * 1.5, whole * 1.7)
        page.get_by_role("button", name="Show the whole run").click()
        expect_width(whole - 1, whole + 1)
        page.get_by_role("listbox").focus()
        page.keyboard.press("+")
        expect_width(whole * 1.5, whole * 1.7)
        page.keyboard.press("0")
        expect_width(whole - 1, whole + 1)
        box = steady_box(bar)
        page.mouse.move(box["x"] + 5, box["y"] + 5)
        page.keyboard.down("Control")
        page.mouse.wheel(0, -60)
        page.keyboard.up("Control")
        expect_width(whole * 1.2, whole * 2)
        # The kill comes to the middle; dragging moves it, and opens nothing.
        page.get_by_role("button", name="Next kill").click()
        before, lanes = steady_box(page.locator(".tl-cut")), steady_box(page.locator(".tl-canvas"))
        assert before["x"] == pytest.approx(lanes["x"] + lanes["width"] / 2, abs=3)
        page.mouse.move(before["x"] + 60, before["y"] + 90)
        page.mouse.down()
        page.mouse.move(before["x"] - 40, before["y"] + 90, steps=5)
        page.mouse.up()
        page.wait_for_function(
            "(x) => Math.abs(document.querySelector('.tl-cut').getBoundingClientRect().x - x) < 8",
            arg=before["x"] - 100,
        )
        expect(details(page)).to_be_hidden()
        quiet(sight, path)


def test_drawn_again_it_stays_as_it_was(browser: Browser, tmp_path: Path) -> None:
    data = synthetic_data(steps=6)
    path = write_page(tmp_path / "run.html", data)
    later = synthetic_data(steps=6, lanes=4, output="'later'")
    with look(browser, path) as sight:
        page = sight.page
        page.get_by_text("Parameters").click()
        page.get_by_role("listbox").focus()
        for key in ("ArrowDown", "ArrowDown", "ArrowRight", "+"):
            page.keyboard.press(key)
        before = expect_active(page, "work, ok")
        page.keyboard.press("Enter")
        page.evaluate(
            "(data) => aexp.update(document.getElementById('aexp-view'), data)",
            json.loads(json.dumps(later, default=str)),
        )
        expect(page.get_by_role("option", name=re.compile("^Workflow"))).to_have_count(5)
        expect(details(page).locator("pre")).to_have_text("'later'")
        expect(details(page).get_by_role("heading", level=3)).to_be_focused()
        expect(page.locator("details[data-fold=parameters]")).to_have_attribute("open", "")
        page.keyboard.press("Escape")
        expect_active(page, before)
        expect(page.get_by_role("listbox")).to_be_focused()
        quiet(sight, path)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_any_light(browser: Browser, tmp_path: Path, scheme: str) -> None:
    anomalies = [Anomaly("one is missing", [{"position": 3}])]
    path = write_page(tmp_path / "run.html", synthetic_data(anomalies=anomalies))
    with look(browser, path, color_scheme=scheme) as sight:
        page = sight.page
        ground = page.locator("body").evaluate("(body) => getComputedStyle(body).backgroundColor")
        assert (sum(int(part) for part in re.findall(r"\d+", ground)) < 384) == (scheme == "dark")
        expect(page.locator("[data-held=false]")).to_contain_text("✕ broken")
        expect(page.locator(".anomaly")).to_contain_text("one is missing")
        for selector in (
            "h1", ".quiet", ".pill", ".verdict .bad", ".verdict .good", ".mark", ".tl-life",
            ".tl-life >> nth=1", ".tl-tick", ".tl-lane .id", ".tl-lane .sign", ".tl-cut > span",
            ".tl-legend li", "thead th",
        ):  # fmt: skip
            assert contrast(page, selector) >= 4.5, selector
        quiet(sight, path)


def test_a_phone(browser: Browser, path: Path) -> None:
    with look(browser, path, viewport=PHONE, has_touch=True, is_mobile=True) as sight:
        page = sight.page
        over = "document.documentElement.scrollWidth - innerWidth"
        assert page.evaluate(over) <= 0
        page.get_by_role("option", name=re.compile("^work, ok")).first.tap()
        expect(details(page)).to_be_visible()
        expect(details(page).locator("pre")).to_have_text("'done'")
        settle(page)
        assert page.evaluate(over) <= 0
        expect(page.get_by_role("option", name="Workflow made.up, run.1.0")).to_be_visible()
        quiet(sight, path)


@pytest.mark.parametrize(("lanes", "steps"), [(500, 20), (1, 10_000), (2_000, 5)])
def test_ten_thousand_steps(browser: Browser, tmp_path: Path, lanes: int, steps: int) -> None:
    path = write_page(tmp_path / "run.html", synthetic_data(lanes=lanes, steps=steps))
    with look(browser, path) as sight:
        page = sight.page
        rendered, painted = sight.figure("render-ms"), sight.figure("paint-ms")
        # For whoever asks with -s: a slow machine is no defect of the page.
        print(f"{lanes} x {steps} steps: rendered in {rendered} ms, on screen in {painted} ms")  # noqa: T201
        # Only what is in sight is there at all.
        options = page.get_by_role("option")
        assert 2 <= options.count() <= 400
        page.get_by_role("listbox").focus()
        page.keyboard.press("ArrowDown")
        for _ in range(3):
            page.keyboard.press("PageDown")
        page.keyboard.press("End")
        expect_active(page, "work, ok")
        page.keyboard.press("Enter")
        expect(details(page).locator("pre")).to_have_text("'done'")
        quiet(sight, path)


def test_a_page_has_no_password(tmp_path: Path) -> None:
    url = "postgresql://user:pa55word@host/name"
    data = synthetic_data(anomalies=[Anomaly(url, [{url: url}])])
    assert "pa55word" not in write_page(tmp_path / "run.html", data).read_text(encoding="utf-8")


def test_hostile_data_does_nothing(browser: Browser, tmp_path: Path) -> None:
    data = synthetic_data(
        output=HOSTILE, name=HOSTILE, anomalies=[Anomaly(HOSTILE, [{HOSTILE: HOSTILE}])]
    )
    path = write_page(tmp_path / "run.html", data)
    with look(browser, path) as sight:
        page = sight.page
        page.on("dialog", lambda _dialog: sight.complaints.append("a dialog"))
        page.get_by_role("option", name=re.compile("ok, at")).first.click()
        expect(details(page).locator("pre")).to_have_text(HOSTILE)
        expect(details(page).get_by_role("heading", level=3)).to_have_text(HOSTILE)
        expect(page.locator("img")).to_have_count(0)
        # The policy refuses what is not the page's own, even if it were there.
        refusals = re.compile("Content Security Policy")
        with page.expect_console_message(lambda message: bool(refusals.search(message.text))):
            assert page.evaluate(
                "() => { const script = document.createElement('script');"
                " script.textContent = 'globalThis.broken = true'; document.body.append(script);"
                " return globalThis.broken === undefined; }"
            )
        assert sight.requests == [path.as_uri()]
        assert len(sight.complaints) == 1
        assert refusals.search(sight.complaints[0])
