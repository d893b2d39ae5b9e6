"""Every promise of ``objects`` holds on a clean history, and a violation breaks it alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aexp.model.promise import judge
from aexp.scenarios.objects.census import CensusComparison, Listed, take_census
from aexp.scenarios.objects.promises import (
    PROMISES,
    CatalogueEvidence,
    Claim,
    account,
    most_at_once,
    most_in_window,
)
from tests.support.violations import Violation, anomalies_of

BEGUN = datetime(2024, 5, 1, 12, 0, 0, tzinfo=UTC)
BEFORE = BEGUN - timedelta(hours=1)
LATER = BEGUN + timedelta(seconds=1)
OLD = Listed(7, BEFORE, "e", BEFORE)
NEW = Listed(7, LATER, "e", LATER)

Row = tuple[str, int, datetime, str | None]


def compare(
    census: Mapping[str, Listed], rows: Sequence[Row], failed: Sequence[str] = ()
) -> CensusComparison:
    comparison = CensusComparison(census, BEGUN)
    for row in rows:
        comparison.see(*row)
    comparison.end(lambda key: key in failed)
    return comparison


def row(key: str, listed: Listed) -> Row:
    assert listed.modified is not None
    return (key, listed.size, listed.modified, listed.etag)


CLEAN = CatalogueEvidence(
    rows=3,
    bytes=21,
    pages=3,
    skipped=0,
    failed=0,
    starts=2,
    period_s=1.0,
    concurrency=1,
    # The third begins as the period of the first ends, each as the one before it ends.
    claims=[
        Claim("r.2.0", 1000, 1005, 1100),
        Claim("r.2.1", 1100, 1100, 1500),
        Claim("r.2.2", 2000, 2005, 2100),
    ],
    bodies=3,
    compared=compare({"a": OLD, "b": OLD}, [row("a", OLD), row("b", OLD)]),
    prefixes=[("a/", 2, 14), ("(top level)", 1, 7)],
)
TWICE = {"key": "a", "times": 2, "pages": [0, 1], "pids": [11, 12]}


VIOLATIONS = [
    Violation(
        "each_once",
        replace(CLEAN, more_than_once=1, duplicates=[TWICE]),
        "1 objects are in the catalogue more than once",
        [TWICE],
    ),
    Violation(
        "none_missing",
        replace(CLEAN, compared=compare({"a": OLD, "b": OLD}, [row("a", OLD)])),
        "1 objects were there before the run, and are neither in the catalogue nor in a page"
        " reported as failed",
        [{"key": "b", "size": 7, "modified": BEFORE}],
    ),
    Violation(
        "unaltered",
        replace(CLEAN, compared=compare({"a": OLD}, [("a", 8, BEFORE, "f")])),
        "1 objects are not as the catalogue says, though nobody has touched them since",
        [{"key": "a", "size": 7, "catalogued_size": 8, "etag": "e", "catalogued_etag": "f"}],
    ),
    Violation(
        "rate_kept",
        # One millisecond before the period of the first is over.
        replace(CLEAN, claims=[*CLEAN.claims[:2], Claim("r.2.2", 1999, 2005, 2100)]),
        "3 pages were begun within 1 s, 2 may be",
        [
            {"workflow_id": "r.2.0", "claimed_at": "1970-01-01T00:00:01.000+00:00"},
            {"workflow_id": "r.2.1", "claimed_at": "1970-01-01T00:00:01.100+00:00"},
            {"workflow_id": "r.2.2", "claimed_at": "1970-01-01T00:00:01.999+00:00"},
        ],
    ),
    Violation(
        "concurrency_kept",
        replace(CLEAN, claims=[Claim("r.2.0", 1000, 1005, 1101), *CLEAN.claims[1:]]),
        "2 pages were at work at once, 1 may be",
        [
            {
                "workflow_id": "r.2.0",
                "began_at": "1970-01-01T00:00:01.005+00:00",
                "ended_at": "1970-01-01T00:00:01.101+00:00",
            },
            {
                "workflow_id": "r.2.1",
                "began_at": "1970-01-01T00:00:01.100+00:00",
                "ended_at": "1970-01-01T00:00:01.500+00:00",
            },
        ],
    ),
]


@pytest.mark.parametrize("violation", VIOLATIONS, ids=lambda violation: violation.promise)
def test_a_violation_breaks_its_promise_alone_and_shows_its_rows(violation: Violation) -> None:
    assert anomalies_of(PROMISES, violation.evidence) == {violation.promise: violation.named}


def test_no_promise_is_without_a_violation() -> None:
    assert [promise.name for promise in PROMISES] == [violation.promise for violation in VIOLATIONS]


HOLDS = {
    "clean": CLEAN,
    "a failed page is reported": replace(
        CLEAN, failed=1, compared=compare({"a": OLD, "b": OLD}, [row("a", OLD)], failed=["b"])
    ),
    "what is newer than the run is not judged": replace(
        CLEAN, compared=compare({"a": NEW, "b": NEW}, [("a", 9, BEFORE, "x")])
    ),
    "what has gone is not judged": replace(CLEAN, compared=compare({}, [row("a", OLD)])),
    "what the store does not tell is not judged": replace(
        CLEAN, compared=compare({"a": Listed(7, None, None, None)}, [row("a", OLD)])
    ),
}


@pytest.mark.parametrize("history", HOLDS)
def test_every_promise_holds_on_a_clean_history(history: str) -> None:
    assert all(verdict.held is True for verdict in judge(PROMISES, HOLDS[history]))


@pytest.mark.parametrize(
    ("evidence", "unjudged"),
    [
        (replace(CLEAN, compared=None, unchecked="it has gone"), {"none_missing", "unaltered"}),
        (replace(CLEAN, failed=None, skipped=None), {"none_missing"}),
        (replace(CLEAN, rows=0), {"each_once", "unaltered"}),
        (replace(CLEAN, claims=[]), {"rate_kept", "concurrency_kept"}),
        (replace(CLEAN, claims=[Claim("r.2.0", 1000, None, None)]), {"concurrency_kept"}),
    ],
)
def test_what_there_is_no_evidence_for_is_not_judged(
    evidence: CatalogueEvidence, unjudged: set[str]
) -> None:
    assert {v.name for v in judge(PROMISES, evidence) if v.held is None} == unjudged


def test_what_changed_since_is_counted() -> None:
    compared = compare(
        {"changed": NEW, "appeared": NEW, "same": NEW, "old": OLD},
        [("changed", 9, BEFORE, "x"), row("same", NEW), row("old", OLD), row("gone", OLD)],
    )

    assert (compared.changed_since, compared.appeared_since, compared.gone_since) == (1, 1, 1)
    assert (compared.altered_count, compared.missing_count) == (0, 0)


def test_an_object_touched_in_the_very_moment_of_the_run_is_not_judged() -> None:
    at = Listed(7, BEGUN, "e", BEGUN)
    just_before = Listed(7, BEFORE, "e", BEGUN - timedelta(microseconds=1))

    compared = compare({"at": at, "before": just_before}, [])

    assert [missing["key"] for missing in compared.missing] == ["before"]
    assert compared.appeared_since == 1


def test_samples_are_bounded_and_counts_are_not() -> None:
    keys = [f"{number:03}" for number in range(50)]

    missing = compare(dict.fromkeys(keys, OLD), [])
    altered = compare(dict.fromkeys(keys, OLD), [(key, 8, BEFORE, "e") for key in keys])

    assert (missing.missing_count, len(missing.missing)) == (50, 20)
    assert (altered.altered_count, len(altered.altered)) == (50, 20)
    assert [row["key"] for row in missing.missing] == keys[:20]


@given(st.lists(st.integers(0, 60)), st.integers(1, 30))
def test_the_fullest_window_is_found(times: list[int], period: int) -> None:
    windows = {begin: sum(begin <= time < begin + period for time in times) for begin in times}

    most, begins = most_in_window(times, period)

    assert most == max(windows.values(), default=0)
    assert not times or windows[begins] == most


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40))))
def test_the_busiest_moment_is_found(spans: list[tuple[int, int]]) -> None:
    moments = {moment: sum(begin <= moment < end for begin, end in spans) for moment in range(41)}

    most, moment = most_at_once(spans)

    assert most == max(moments.values())
    assert moments[moment] == most


def test_the_account_tells_the_figures_as_json() -> None:
    summary = account(CLEAN)

    assert json.loads(json.dumps(summary)) == summary == {
        "objects": {
            "catalogued": 3, "bytes": 21, "pages": 3, "skipped": 0, "failed_pages": 0,
        },
        "since": {"appeared": 0, "gone": 0, "changed": 0},
        "prefixes": [
            {"prefix": "a/", "objects": 2, "bytes": 14},
            {"prefix": "(top level)", "objects": 1, "bytes": 7},
        ],
        "rate": {"starts": 2, "period_s": 1.0, "most_in_a_period": 2},
        "concurrency": {"at_once": 1, "most_at_once": 1},
        "attempts": {"bodies": 3, "restarts": 0, "retries": 0},
    }  # fmt: skip


def test_the_account_shows_the_largest_prefixes_and_the_sum_of_others() -> None:
    prefixes = [(f"{number}/", 2, 100 - number) for number in range(17)]

    shown = account(replace(CLEAN, prefixes=prefixes))["prefixes"]

    assert len(shown) == 16
    assert shown[0] == {"prefix": "0/", "objects": 2, "bytes": 100}
    assert shown[-1] == {"prefix": "(2 others)", "objects": 4, "bytes": 85 + 84}


def test_the_account_says_what_was_not_compared() -> None:
    summary = account(replace(CLEAN, compared=None, unchecked="the store has gone"))

    assert summary["unchecked"] == "the store has gone"
    assert summary["since"] == {"appeared": None, "gone": None, "changed": None}


@pytest.mark.asyncio
async def test_a_census_sees_what_the_operating_system_sees(tmp_path: Path) -> None:
    folder = tmp_path / "things"
    (folder / "sub").mkdir(parents=True)
    (folder / "left" / "out").mkdir(parents=True)
    for name in ("a", "sub/b", "left/out/c", "left/outer", "upload#7", "no upload#", "#7", "a#b#7"):
        (folder / name).write_bytes(b"123")
    (folder / "link").symlink_to("sub")
    (folder / "nowhere").symlink_to("gone")
    (folder / "sub" / "loop").symlink_to("..")

    census = await take_census({"url": folder.as_uri(), "exclude": ["left/out/"]})

    assert set(census) == {"a", "sub/b", "left/outer", "link/b", "no upload#", "a#b#7"}
    status = (folder / "a").stat()
    assert census["a"].size == 3
    assert census["a"].modified is not None
    assert census["a"].modified.timestamp() == pytest.approx(status.st_mtime, abs=1e-5)
