"""Real Chromium on a page of ours, and pages made up for it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    FloatRect,
    Locator,
    Page,
    Request,
    expect,
    sync_playwright,
)

from aexp.audit import Report
from aexp.model.promise import Anomaly, Verdict
from aexp.model.run import ProcessRecord, Run
from aexp.viewer import render_page, view_data
from aexp.viewer.drawing import draw_timeline
from aexp.viewer.timeline import BodyRow, StepRow, WorkflowRow
from tests.support.cli import TIMEOUT_S, wait_until

__all__ = [
    "Sight",
    "chromium",
    "context_of",
    "look",
    "settle",
    "steady_box",
    "synthetic_data",
    "write_page",
]

NAMES = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_MS = TIMEOUT_S * 1000
BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)
BEGAN_MS = round(BEGAN.timestamp() * 1000)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The Chromium of this machine; skips the test where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no Chromium in PATH (one of {', '.join(NAMES)}): install it to run this")
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        # Its own sandbox needs a user other than root.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def context_of(browser: Browser, **options: Any) -> Iterator[BrowserContext]:
    """A context of ``browser``, in which nothing stays open at the end."""
    context = browser.new_context(**options)
    context.set_default_timeout(TIMEOUT_MS)
    try:
        yield context
    finally:
        context.close()


def settle(page: Page) -> None:
    """Return when the view has drawn all that was asked of it: it draws in animation frames.

    An action asks for the next one; what then changes its size asks for the one after that.
    """
    page.evaluate(
        "async () => { for (let frame = 0; frame < 3; frame += 1)"
        " await new Promise((done) => requestAnimationFrame(done)); }"
    )


def steady_box(element: Locator) -> FloatRect:
    """Where ``element`` is, once it is there and no longer moves.

    Asked at once, the element may be one that the next frame makes anew: it would have no box.
    """
    boxes: list[FloatRect | None] = [None]

    def is_steady() -> bool:
        settle(element.page)
        boxes.append(element.bounding_box())
        return boxes[-1] is not None and boxes[-1] == boxes[-2]

    wait_until(is_steady, poll_s=0)
    assert boxes[-1] is not None
    return boxes[-1]


@dataclass
class Sight:
    """A page that is open, and what it should not have done."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Take down every error and every request from now on."""

        def console(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"}:
                self.complaints.append(message.text)

        def request(request: Request) -> None:
            self.requests.append(request.url)

        self.page.on("console", console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", request)

    def figure(self, name: str) -> float:
        """A figure that the view measured of itself."""
        return float(self.page.locator("#aexp-view").get_attribute(f"data-{name}") or "nan")


@contextmanager
def look(
    browser: Browser, path: Path, *, drawn: str = "#aexp-view[data-paint-ms]", **options: Any
) -> Iterator[Sight]:
    """Open the file ``path`` without a network, and wait until it has the element ``drawn``.

    ``options`` are of the browser's context.
    """
    with context_of(browser, offline=True, **options) as context:
        sight = Sight(context.new_page())
        sight.watch()
        sight.page.goto(path.as_uri())
        sight.page.wait_for_selector(drawn, state="attached")
        settle(sight.page)
        yield sight


def synthetic_data(
    *,
    lanes: int = 3,
    steps: int = 4,
    output: str = "'done'",
    name: str = "work",
    anomalies: Sequence[Anomaly] = (),
) -> dict[str, Any]:
    """The view of a made-up run: ``lanes`` workflows of ``steps`` steps, a kill after 4 of 10 s."""
    processes = [
        _process(1, 101, 0, 4, "killed by SIGKILL"),
        _process(2, 102, 5, 10, "completed"),
    ]
    workflows = [_workflow("run", None, 0)]
    checkpoints: list[StepRow] = []
    for lane in range(lanes):
        workflow = _workflow(f"run.1.{lane}", "run", lane)
        workflows.append(workflow)
        for step in range(steps):
            at = BEGAN_MS + 100 + (9_800 * step) // steps + lane % 7
            length = max(1, 7_000 // steps)
            checkpoints.append(
                StepRow(workflow.workflow_id, step + 1, name, at, at + length, None, output)
            )
    timeline = draw_timeline(
        processes,
        workflows,
        checkpoints,
        [
            BodyRow("run.1.0", 1, name, 101, BEGAN_MS + 3_000),
            BodyRow("run.1.0", 1, name, 102, BEGAN_MS + 5_200),
        ],
        created_ms=BEGAN_MS,
        now_ms=BEGAN_MS + 20_000,
        alive=False,
    )
    run = Run("run", "made-up", "made-up", {"lanes": lanes}, {}, "1", BEGAN)
    verdicts = [
        Verdict("ends", "the workflow ends, and not in error", ()),
        Verdict("kept", "what is promised is kept", anomalies),
    ]
    account = {"messages": {"asked": 12_345}, "rows": [{"a": 1, "b": None}]}
    return view_data(Report(run, "SUCCESS", None, processes, verdicts, account, 9.0), timeline)


def write_page(path: Path, data: dict[str, Any]) -> Path:
    """``path``, where the page of ``data`` now is."""
    path.write_text(render_page(data), encoding="utf-8")
    return path


def _process(number: int, pid: int, began_s: float, ended_s: float, how: str) -> ProcessRecord:
    began, ended = (BEGAN + timedelta(seconds=s) for s in (began_s, ended_s))
    return ProcessRecord(number, pid, "local", began, ended, how, None)


def _workflow(workflow_id: str, parent: str | None, delay_ms: int) -> WorkflowRow:
    return WorkflowRow(
        workflow_id=workflow_id,
        name="made.up",
        parent_id=parent,
        queue="queue",
        status="SUCCESS",
        created_ms=BEGAN_MS + delay_ms % 100,
        started_ms=BEGAN_MS + 100,
        completed_ms=BEGAN_MS + 9_990,
        attempts=2,
    )
