"""What ``credentials`` promises: the evidence in the database, and pure judgements of it.

Nobody keeps the secrets, so the audit looks for what it can derive again: each token of the
scenario's own endpoint carries a marker that follows from the run's id. Secrets of a foreign
endpoint are known to the process that fetched them alone, which searches for them when it ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from aexp.model.promise import SAMPLE, Anomaly, Promise
from aexp.model.scenario import Account
from aexp.scenarios.credentials.secret_search import Search

__all__ = [
    "FETCHED",
    "FETCH_FAILED",
    "PROMISES",
    "CredentialsEvidence",
    "Fetch",
    "ProcessFetches",
    "account",
    "marker",
    "step_name",
]

FETCHED = "credentials.fetched"
FETCH_FAILED = "credentials.fetch_failed"


def marker(run_id: str) -> str:
    """Return what each token of the run's own endpoint carries: 64 hexadecimal digits."""
    return hashlib.sha256(f"credentials of {run_id}".encode()).hexdigest()


def step_name(page: int | None = None, number: int | None = None) -> str:
    """Return the name of the step that describes a user, or what all such names begin with."""
    return "describe_user " + (f"{page}.{number}" if page is not None else "")


@dataclass(frozen=True, slots=True)
class Fetch:
    """One fetch; its times are seconds on the clock of the process that made it."""

    fetched_at: float
    expires_at: float
    why: str


@dataclass(frozen=True, slots=True)
class ProcessFetches:
    """What a process fetched, in order.

    ``log_leaks`` are lines that would have held a secret, ``expired_uses`` how often credentials
    were used that had expired before; None when it was never heard.
    """

    pid: int
    ended: str | None
    fetches: Sequence[Fetch] = ()
    failed: int = 0
    log_leaks: int | None = None
    expired_uses: int | None = None

    @property
    def early(self) -> Sequence[tuple[Fetch, Fetch]]:
        """Fetches while the credentials before them, which stand first, were still valid."""
        return [
            (before, after)
            for before, after in pairwise(self.fetches)
            if after.fetched_at < before.expires_at
        ]


@dataclass(frozen=True, slots=True)
class CredentialsEvidence:
    """What was fetched, what was described, and where a secret was found.

    Counts are of users; ``missing`` and ``repeated`` are samples of users, ``strays`` fetches of
    processes that the run does not have. ``unsearched`` says why ``search`` does not tell, if so.
    """

    asked: int
    described: int
    reported_failed: int
    missing: int
    missing_sample: Sequence[str] = ()
    repeated: Sequence[Mapping[str, Any]] = ()
    processes: Sequence[ProcessFetches] = ()
    strays: Sequence[Mapping[str, Any]] = ()
    search: Search | None = None
    unsearched: str | None = None
    ended: bool = True

    @property
    def fetches(self) -> int:
        """Fetches that brought credentials, in all processes."""
        return sum(len(process.fetches) for process in self.processes)


def _fetched_sparingly(evidence: CredentialsEvidence) -> Sequence[Anomaly] | None:
    anomalies = []
    early = [
        {
            "pid": process.pid,
            "fetched_at": after.fetched_at,
            "valid_until": before.expires_at,
            "why": after.why,
        }
        for process in evidence.processes
        for before, after in process.early
    ]
    if early:
        anomalies.append(
            Anomaly(
                f"{len(early)} fetches while the process had credentials that were valid",
                early[:SAMPLE],
            )
        )
    if evidence.strays:
        anomalies.append(
            Anomaly("fetches by processes that did not work on the run", evidence.strays)
        )
    return anomalies if anomalies or evidence.fetches else None


def _secret_kept(evidence: CredentialsEvidence) -> Sequence[Anomaly] | None:
    anomalies = []
    if evidence.search is not None and evidence.search.found:
        anomalies.append(
            Anomaly(
                f"a secret stands in {evidence.search.found} rows",
                evidence.search.sample,
            )
        )
    logged = [
        {"pid": process.pid, "lines": process.log_leaks}
        for process in evidence.processes
        if process.log_leaks
    ]
    if logged:
        anomalies.append(Anomaly("a secret was logged, and masked in the line", logged))
    if anomalies:
        return anomalies
    # Without a fetch there was no secret to keep, and nobody knows what a process that was never
    # heard has logged.
    unheard = any(found.fetches and found.log_leaks is None for found in evidence.processes)
    return None if evidence.unsearched or unheard or not evidence.fetches else ()


def _refreshed(evidence: CredentialsEvidence) -> Sequence[Anomaly] | None:
    stale = [
        {"pid": process.pid, "uses": process.expired_uses}
        for process in evidence.processes
        if process.expired_uses
    ]
    if stale:
        return [Anomaly("credentials were used that had expired before", stale)]
    heard = any(found.expired_uses is not None for found in evidence.processes)
    return () if heard and evidence.fetches else None


def _described_once(evidence: CredentialsEvidence) -> Sequence[Anomaly] | None:
    anomalies = []
    if evidence.missing and not evidence.ended and not evidence.repeated:
        return None
    if evidence.missing and evidence.ended:
        anomalies.append(
            Anomaly(
                f"{evidence.missing} of {evidence.asked} users were never described, nor was their"
                " page reported as failed",
                [{"user": user} for user in evidence.missing_sample],
            )
        )
    if evidence.repeated:
        anomalies.append(Anomaly("users have more than one checkpoint", evidence.repeated))
    return anomalies


PROMISES: Sequence[Promise[CredentialsEvidence]] = (
    Promise(
        "fetched_sparingly",
        "a process fetches credentials once, and again only when they have expired",
        _fetched_sparingly,
    ),
    Promise("refreshed", "credentials that have expired are not used again", _refreshed),
    Promise(
        "secret_kept",
        "no secret is in a row of any table of schemas aexp and dbos, or in a log line",
        _secret_kept,
    ),
    Promise(
        "described_once",
        "every user is described once, or their page is reported as failed",
        _described_once,
    ),
)


def account(evidence: CredentialsEvidence) -> Account:
    """Return the figures for people, as JSON values."""
    summary: dict[str, Any] = {
        "users": {
            "asked": evidence.asked,
            "described": evidence.described,
            "reported_failed": evidence.reported_failed,
            "never": evidence.missing,
        },
        # By number, since a pid may come again.
        "credentials": {
            f"process {number}": {
                "pid": process.pid,
                "fetches": len(process.fetches),
                "after_expiry": max(0, len(process.fetches) - 1 - len(process.early)),
                "failed_fetches": process.failed,
                "log_lines": process.log_leaks,
                "ended": process.ended,
            }
            for number, process in enumerate(evidence.processes, 1)
        },
    }
    if evidence.search is not None:
        summary["search"] = {
            "tables": evidence.search.tables,
            "rows": evidence.search.rows,
            "found": evidence.search.found,
        }
    if evidence.unsearched:
        summary["unsearched"] = evidence.unsearched
    return summary
