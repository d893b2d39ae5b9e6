"""Every promise of ``credentials`` holds on a clean history, and a violation breaks it alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aexp.database.connect import Connection
from aexp.model.promise import judge
from aexp.model.run import Ending, ProcessRecord, Run
from aexp.scenarios.credentials.evidence import gather
from aexp.scenarios.credentials.promises import (
    FETCH_FAILED,
    FETCHED,
    PROMISES,
    CredentialsEvidence,
    Fetch,
    ProcessFetches,
    account,
)
from aexp.scenarios.credentials.secret_search import Search
from tests.support.violations import Violation, anomalies_of

ONE_FETCH = ProcessFetches(
    pid=41,
    ended="killed by SIGKILL",
    fetches=[Fetch(10.0, 70.0, "first")],
    log_leaks=0,
    expired_uses=0,
)
TWO_FETCHES = ProcessFetches(
    pid=42,
    ended="completed",
    fetches=[Fetch(3.0, 63.0, "first"), Fetch(63.0, 123.0, "expired")],
    log_leaks=0,
    expired_uses=0,
)
KEPT = CredentialsEvidence(
    asked=15,
    described=12,
    reported_failed=3,
    missing=0,
    processes=[ONE_FETCH, TWO_FETCHES],
    search=Search(tables=24, rows=1000, found=0),
)

FOUND_ROW = {"table": "dbos.operation_outputs", "columns": "output", "row": "workflow_uuid=w"}
STRAY_ROW = {"pid": 43, "happened_at": "2026-01-01", "fetch": 1}
REPEATED_ROW = {"user": "1.2", "times": 2, "checkpoints": ["r.1.0 1", "r.1.0 4"]}


VIOLATIONS = [
    Violation(
        "fetched_sparingly",
        replace(
            KEPT,
            processes=[
                ONE_FETCH,
                replace(
                    TWO_FETCHES,
                    fetches=[Fetch(3.0, 63.0, "first"), Fetch(62.99, 122.99, "expired")],
                ),
            ],
        ),
        "1 fetches while the process had credentials that were valid",
        [{"pid": 42, "fetched_at": 62.99, "valid_until": 63.0, "why": "expired"}],
    ),
    Violation(
        "fetched_sparingly",
        replace(
            KEPT,
            processes=[replace(ONE_FETCH, fetches=[Fetch(1.0, 9.0, "first")] * 3)],
        ),
        "2 fetches while the process had credentials that were valid",
        [{"pid": 41, "fetched_at": 1.0, "valid_until": 9.0, "why": "first"}] * 2,
    ),
    Violation(
        "fetched_sparingly",
        replace(KEPT, strays=[STRAY_ROW]),
        "fetches by processes that did not work on the run",
        [STRAY_ROW],
    ),
    Violation(
        "secret_kept",
        replace(KEPT, search=Search(24, 1000, 1, [FOUND_ROW])),
        "a secret stands in 1 rows",
        [FOUND_ROW],
    ),
    Violation(
        "secret_kept",
        replace(KEPT, search=Search(24, 1000, 1, [FOUND_ROW]), unsearched="one was killed"),
        "a secret stands in 1 rows",
        [FOUND_ROW],
    ),
    Violation(
        "secret_kept",
        replace(KEPT, processes=[ONE_FETCH, replace(TWO_FETCHES, log_leaks=2)]),
        "a secret was logged, and masked in the line",
        [{"pid": 42, "lines": 2}],
    ),
    Violation(
        "described_once",
        replace(KEPT, described=10, missing=2, missing_sample=["4.1", "4.3"]),
        "2 of 15 users were never described, nor was their page reported as failed",
        [{"user": "4.1"}, {"user": "4.3"}],
    ),
    Violation(
        "described_once",
        replace(KEPT, repeated=[REPEATED_ROW]),
        "users have more than one checkpoint",
        [REPEATED_ROW],
    ),
]


def held(evidence: CredentialsEvidence) -> dict[str, bool | None]:
    return {verdict.name: verdict.held for verdict in judge(PROMISES, evidence)}


def test_all_promises_hold_of_a_clean_history() -> None:
    assert set(held(KEPT).values()) == {True}


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_a_planted_violation_breaks_its_promise_and_no_other(violation: Violation) -> None:
    assert anomalies_of(PROMISES, violation.evidence) == {violation.promise: violation.named}


def test_what_nobody_searched_is_not_judged() -> None:
    unsearched = replace(KEPT, search=None, unsearched="process 41 was killed")
    assert held(unsearched)["secret_kept"] is None
    assert account(unsearched)["unsearched"] == "process 41 was killed"


def test_without_a_fetch_there_is_nothing_to_judge() -> None:
    nothing = replace(KEPT, processes=[replace(ONE_FETCH, fetches=[], failed=9)])
    assert held(nothing) == {
        "fetched_sparingly": None,
        "refreshed": None,
        "secret_kept": None,
        "described_once": True,
    }


def test_what_a_process_never_told_is_not_judged() -> None:
    unheard = replace(ONE_FETCH, log_leaks=None, expired_uses=None)
    assert held(replace(KEPT, processes=[unheard]))["secret_kept"] is None
    assert held(replace(KEPT, processes=[unheard]))["refreshed"] is None
    # The other one told.
    assert held(replace(KEPT, processes=[unheard, TWO_FETCHES]))["refreshed"] is True


def test_credentials_that_are_used_beyond_their_life_break_the_promise() -> None:
    stale = replace(TWO_FETCHES, expired_uses=3)
    found = anomalies_of(PROMISES, replace(KEPT, processes=[ONE_FETCH, stale]))
    assert list(found) == ["refreshed"]
    assert found["refreshed"][0][1] == [{"pid": 42, "uses": 3}]


def test_what_is_missing_before_the_end_is_not_missing_yet() -> None:
    missing = replace(KEPT, described=10, missing=2, missing_sample=["1.1", "1.2"])
    assert held(missing)["described_once"] is False
    assert held(replace(missing, ended=False))["described_once"] is None


def test_the_account_tells_fetches_and_expiries_by_process() -> None:
    summary = account(KEPT)["credentials"]
    assert [(row["pid"], row["fetches"], row["after_expiry"]) for row in summary.values()] == [
        (41, 1, 0),
        (42, 2, 1),
    ]


BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def record(number: int, pid: int, minute: int, memory: Mapping[str, Any] | None) -> ProcessRecord:
    return ProcessRecord(
        number, pid, "local", BEGAN + timedelta(minutes=minute), None, "completed", memory
    )


def a_run(token_url: str | None = None) -> Run:
    parameters = {"pages": 2, "users": 2, "token_url": token_url}
    return Run("r", "credentials", "credentials", parameters, {}, "run-r")


async def plant(
    connection: Connection, event: str, pid: int, minute: float, data: Mapping[str, Any]
) -> None:
    await connection.execute(
        "INSERT INTO aexp.events (run_id, event, pid, data, happened_at) VALUES ($1,$2,$3,$4,$5)",
        "r",
        event,
        pid,
        data,
        BEGAN + timedelta(minutes=minute),
    )


def fetched(number: int, at: float) -> Mapping[str, Any]:
    return {"fetch": number, "fetched_at": at, "expires_at": at + 60, "why": "first"}


@pytest.mark.asyncio
async def test_a_pid_that_comes_again_is_another_process(connection: Connection) -> None:
    await plant(connection, FETCHED, 41, 1, fetched(1, 500.0))
    # Noted twice, over a lost connection.
    await plant(connection, FETCHED, 41, 11, fetched(1, 3.0))
    await plant(connection, FETCHED, 41, 11, fetched(1, 3.0))
    await plant(connection, FETCH_FAILED, 41, 12, {"why": "expired", "error": "refused"})
    await plant(connection, FETCHED, 43, 12, fetched(1, 3.0))
    memory = {"fetches": 1, "log_leaks": 0, "searched": None}
    processes = [record(1, 41, 0, None), record(2, 42, 5, memory), record(3, 41, 10, memory)]

    evidence = await gather(connection, a_run(), Ending("SUCCESS", {}, None, processes))

    assert [[fetch.fetched_at for fetch in each.fetches] for each in evidence.processes] == [
        [500.0],
        [],
        [3.0],
    ]
    assert [each.failed for each in evidence.processes] == [0, 0, 1]
    assert [each.log_leaks for each in evidence.processes] == [None, 0, 0]
    assert [stray["pid"] for stray in evidence.strays] == [43]
    assert evidence.missing == 4
    assert evidence.missing_sample == ["1.1", "1.2", "2.1", "2.2"]


@pytest.mark.asyncio
async def test_failed_pages_account_for_their_users(connection: Connection) -> None:
    result = {"described": 0, "failed": [{"page": 2, "error": "refused"}]}
    some = await gather(connection, a_run(), Ending("SUCCESS", result, None, []))
    assert (some.reported_failed, some.missing_sample) == (2, ["1.1", "1.2"])
    every = await gather(connection, a_run(), Ending("ERROR", None, "no page", []))
    assert (every.reported_failed, every.missing) == (4, 0)


@pytest.mark.asyncio
async def test_with_a_foreign_endpoint_each_process_searches_for_itself(
    connection: Connection,
) -> None:
    for pid in (41, 42):
        await plant(connection, FETCHED, pid, 1, fetched(1, 3.0))
    clean = {"log_leaks": 0, "searched": Search(24, 10, 0).as_json()}
    leaky = {"log_leaks": 0, "searched": Search(24, 12, 1, [FOUND_ROW]).as_json()}
    killed = {"log_leaks": 0, "searched": None}

    async def judged(*memories: Mapping[str, Any] | None) -> bool | None:
        records = [record(n, 41 + n, 0, memory) for n, memory in enumerate(memories)]
        ending = Ending("SUCCESS", {}, None, records)
        return held(await gather(connection, a_run("http://foreign/token"), ending))["secret_kept"]

    assert await judged(clean, clean) is True
    assert await judged(clean, leaky) is False
    assert await judged(clean, killed) is None
    assert await judged(None, clean) is None
    assert await judged(killed, leaky) is False, "a finding is a finding"
