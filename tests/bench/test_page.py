"""The page of a bench, from a result that is made up; and in Chromium."""

from __future__ import annotations

import html
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from playwright.sync_api import Browser

from aexp.bench.analysis.record import assemble, read_result
from aexp.bench.analysis.result import CellResult, Result
from aexp.bench.present.page import render_bench
from aexp.bench.present.readme import readme_plot, readme_table
from aexp.bench.workload import Comparison, Curve, CurvePoint, Variant, Workload
from aexp.errors import BadInput
from tests.support import bench_workloads
from tests.support.browser import chromium, look

HOSTILE = 'a$b$ </svg><img src=x onerror="alert(1)"> & "quoted"'
REASON = "It <b>is</b> fast."
PHONE = {"width": 360, "height": 740}
LIMITS = {
    "cores": 2.0,
    "max_connections": 100.0,
    "max_wal_bytes": 1e9,
    "checkpoint_timeout_s": 300.0,
    "disk_free_bytes": 1e11,
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def workload(name: str = "growth-messages") -> Workload:
    return Workload(
        name=name,
        summary="More and more.",
        unit="message",
        variants=[
            *(
                Variant(
                    name=f"{x} {series}",
                    run=bench_workloads.insert,
                    loop=None,
                    size={"messages": x},
                    point=CurvePoint(series, x),
                )
                for series in ("one at a time", HOSTILE)
                for x in (10, 100, 1000)
            ),
            Variant(name="limit", run=bench_workloads.insert, loop=None, size={"messages": 1}),
        ],
        comparisons=[
            Comparison(
                figure="rate", variant="1000 one at a time", against=f"10 {HOSTILE}", least=1.5
            ),
            Comparison(figure="rate", variant="limit", most=1.0, reason=REASON),
            Comparison(figure="rate", variant="limit", least=0.0, reason="nothing"),
        ],
        size={},
        quick_size={},
        curve=Curve(x="messages", figure="rate", limit="limit", grows=("wall_ms",)),
    )


def made_up(
    measured: Workload, *, rounds: int = 5, others: float = 0.0, quick: bool = False
) -> Result:
    draw = random.Random(1)

    def figures(x: float) -> dict[str, float]:
        rate = 100 * x**0.2 * draw.lognormvariate(0, 0.05)
        return {
            "rate": rate,
            "wall_ms": 1000 / rate,
            "cpu_ms": 0.5,
            "server_cpu_ms": 0.2,
            "memory_above_idle_mib": 3.0,
            "threads": 12.0,
            "lag_p50_ms": 0.1,
            "lag_p99_ms": 4.0,
            "lag_max_ms": 9.0,
            "wal_bytes": 130.0,
            "table_bytes": 100.0,
            "xids": 0.01,
            "connections": 20.0,
        }

    cells = [
        CellResult(
            workload=measured.name,
            variant=variant.name,
            round_no=round_no,
            size=variant.size,
            units=10,
            figures=figures(variant.size["messages"]),
            measured={"others": others},
        )
        for round_no in range(1, rounds + 1)
        for variant in measured.variants
    ]
    cells.append(
        CellResult(
            workload=measured.name, variant="limit", round_no=9, size={}, failure=f"why: {HOSTILE}"
        )
    )
    circumstances = {
        "began_at": "2026-03-01T12:00:00+00:00",
        "elapsed_s": 61.0,
        "seed": 3,
        "quick": quick,
        "rounds": {"asked": 5, "done": rounds},
        "machine": {"processor": HOSTILE, "cores": 2, "kernel": "Linux 6"},
        "load": {"before": {"average": 0.1}, "after": {"average": 1.0}},
        "versions": {"python": "CPython 3.13", "dbos": "3.4.0"},
        "postgresql": {"version": "18.4", "fsync": "on"},
        "limits": LIMITS,
    }
    return assemble(circumstances, [("t", measured)], cells)


@pytest.fixture(scope="module")
def page() -> str:
    return render_bench(made_up(workload()))


def test_the_page_tells_targets_figures_growth_and_what_a_day_takes(page: str) -> None:
    text = re.sub(r"<[^>]+>", " ", page)
    assert "1 missed" in text
    assert html.escape(REASON) in text
    assert "nothing" not in text
    assert "cells that are no result: 1" in text
    assert "≥ 1.5" in text
    assert "wall ms grows with the power" in text
    assert "1,000,000,000 messages a day" in text
    assert "gives way first" in text
    # The rates, and the curve.
    assert page.count("<svg") == 2


def test_the_page_is_whole_in_itself(page: str) -> None:
    assert not re.search(r'(src|href)="(?!#)', page)
    assert "@import" not in page
    assert "<script" not in page
    ids = Counter(re.findall(r'\bid="([^"]*)"', page))
    assert [name for name, times in ids.items() if times > 1] == []
    for used in re.findall(r'(?:url\(#|href="#)([^")]*)', page):
        assert used in ids
    # Its colours are the page's own, for light and for dark.
    assert set(re.findall(r"var\((--[\w-]+)\)", page)) <= set(re.findall(r"(--[\w-]+):", page))
    assert not re.search(r"(fill|stroke): #(?!none)", page)


def test_names_are_text_and_never_markup(page: str) -> None:
    assert "<img" not in page
    assert page.count("</svg>") == 2


def test_the_same_result_is_the_same_page(page: str) -> None:
    assert render_bench(made_up(workload())) == page


def test_one_round_and_a_busy_machine_are_told() -> None:
    text = render_bench(made_up(workload(), rounds=1, others=0.5, quick=True))
    assert "made with --quick: small sizes, few rounds" in text
    assert "1 of 5 rounds" in text
    assert "busy machine: during 7 of 8 cells others took up to 50% of it" in text
    assert "[one round]" in text


def test_a_result_is_read_back_from_its_file() -> None:
    target = f"{Path(bench_workloads.__file__)}:TINY"
    measured = bench_workloads.TINY
    cells = [
        CellResult(
            workload="tiny",
            variant=variant,
            round_no=1,
            size={"rows": 10},
            units=10,
            figures={"rate": rate, "threads": 2.0},
            measured={"others": 0.0},
        )
        for variant, rate in (("sync", 100.0), ("async", 300.0))
    ]
    result = made_up(workload())
    result = assemble(result.circumstances, [(target, measured)], cells)
    document = json.loads(json.dumps(result.as_json()))
    assert read_result(document).as_json() == result.as_json()
    with pytest.raises(BadInput, match="no result of `aexp bench --json`"):
        read_result({"version": 0})


def test_the_readme_is_written_from_a_result() -> None:
    result = made_up(workload("publish"))
    table = readme_table([result]).splitlines()
    assert table[2].startswith("| `publish` | 1000 one at a time / 10 ")
    assert table[3].endswith(f"| ≤ 1 | missed: {REASON} |")
    assert table[4].endswith("| ≥ 0 | met |")
    grown = [line for line in table if "grows with the power" in line]
    assert len(grown) == 2
    assert all(line.endswith(("| met |", "| missed |")) for line in grown)
    assert not any("--quick" in line for line in table)
    assert any("fsync and synchronous_commit on" in line for line in table)
    apart = readme_table([result, made_up(workload("other"))]).splitlines()
    assert len([line for line in apart if line.startswith("| `other`")]) == len(table[2:]) - 3
    assert [line for line in apart if line.startswith("- `")] == ["- `publish`:", "- `other`:"]
    plot = readme_plot([result])
    ET.fromstring(plot)
    assert "prefers-color-scheme: dark" in plot
    with pytest.raises(ValueError, match="publish was not measured"):
        readme_plot([made_up(workload())])


def test_without_points_there_is_no_curve() -> None:
    measured = replace(workload("other"), curve=None)
    assert render_bench(made_up(measured)).count("<svg") == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_chromium_it_fits_a_phone_in_any_light(
    browser: Browser, page: str, tmp_path: Path, scheme: str
) -> None:
    path = tmp_path / "bench.html"
    path.write_text(page, encoding="utf-8")
    with look(browser, path, drawn="svg", viewport=PHONE, color_scheme=scheme) as sight:
        assert sight.complaints == []
        assert sight.requests == [path.as_uri()]
        assert sight.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        colours = sight.page.evaluate(
            "['svg text', 'body'].map(name => getComputedStyle(document.querySelector(name)))"
            ".map(style => [style.fill, style.backgroundColor])"
        )
        text, ground = colours[0][0], colours[1][1]
        bright = {"light": ground, "dark": text}[scheme]
        dark = {"light": text, "dark": ground}[scheme]
        assert brightness(bright) > 140
        assert brightness(dark) < 120


def brightness(colour: str) -> float:
    """Mean of red, green and blue."""
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3
