"""What ``objects`` promises: the catalogue against the store, and the queue against its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aexp.model.promise import SAMPLE, Anomaly, Promise
from aexp.model.scenario import Account
from aexp.scenarios.objects.census import CensusComparison

__all__ = [
    "PROMISES",
    "CatalogueEvidence",
    "Claim",
    "account",
    "most_at_once",
    "most_in_window",
]

PREFIXES = 15


class Claim(NamedTuple):
    """A page's last claim from its queue, in milliseconds of the database's clock.

    From ``began_ms`` to ``ended_ms`` its workflow was at work beyond doubt; None where that is not
    known.
    """

    workflow_id: str
    claimed_ms: int
    began_ms: int | None
    ended_ms: int | None


@dataclass(frozen=True, slots=True)
class CatalogueEvidence:
    """What stands in ``aexp.objects`` against an independent listing, and when pages were begun.

    ``rows`` are rows, other counts objects; ``duplicates``, ``missing`` and ``altered`` are
    samples. ``compared`` is None, and ``unchecked`` says why, where there was no listing to compare
    with. ``prefixes`` are (top-level prefix, objects, bytes), largest first. ``bodies`` are bodies
    of page steps, ``restarts`` those after a process had gone, ``retries`` those after an error.
    """

    rows: int
    bytes: int
    pages: int
    skipped: int | None
    failed: int | None
    starts: int
    period_s: float
    concurrency: int
    claims: Sequence[Claim]
    bodies: int = 0
    restarts: int = 0
    retries: int = 0
    more_than_once: int = 0
    duplicates: Sequence[Mapping[str, Any]] = ()
    compared: CensusComparison | None = None
    unchecked: str | None = None
    prefixes: Sequence[tuple[str, int, int]] = ()

    @property
    def period_ms(self) -> int:
        """The period as DBOS takes it, in whole milliseconds."""
        return int(self.period_s * 1000)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """From when to when each page was at work beyond doubt."""
        return [
            (claim.began_ms, claim.ended_ms)
            for claim in self.claims
            if claim.began_ms is not None and claim.ended_ms is not None
        ]


def most_in_window(times: Sequence[int], period: int) -> tuple[int, int]:
    """Return the most of ``times`` in a half-open window of ``period``, and its beginning."""
    ordered = sorted(times)
    most, begins, first = 0, 0, 0
    for last, time in enumerate(ordered):
        while ordered[first] <= time - period:
            first += 1
        if last - first + 1 > most:
            most, begins = last - first + 1, ordered[first]
    return most, begins


def most_at_once(spans: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the most of ``spans``, each without its end, that hold one moment, and that moment."""
    # At the same moment what ends comes first.
    changes = sorted(
        change for begin, end in spans if begin < end for change in ((begin, 1), (end, -1))
    )
    most, moment, now = 0, 0, 0
    for time, change in changes:
        now += change
        if now > most:
            most, moment = now, time
    return most, moment


def _each_once(evidence: CatalogueEvidence) -> Sequence[Anomaly] | None:
    if not evidence.rows:
        return None
    if not evidence.more_than_once:
        return ()
    return [
        Anomaly(
            f"{evidence.more_than_once} objects are in the catalogue more than once",
            evidence.duplicates,
        )
    ]


def _none_missing(evidence: CatalogueEvidence) -> Sequence[Anomaly] | None:
    if evidence.compared is None or evidence.failed is None:
        return None
    if not evidence.compared.missing_count:
        return ()
    return [
        Anomaly(
            f"{evidence.compared.missing_count} objects were there before the run, and are neither"
            " in the catalogue nor in a page reported as failed",
            evidence.compared.missing,
        )
    ]


def _unaltered(evidence: CatalogueEvidence) -> Sequence[Anomaly] | None:
    if evidence.compared is None or not evidence.rows:
        return None
    if not evidence.compared.altered_count:
        return ()
    return [
        Anomaly(
            f"{evidence.compared.altered_count} objects are not as the catalogue says, though"
            " nobody has touched them since",
            evidence.compared.altered,
        )
    ]


def _rate_kept(evidence: CatalogueEvidence) -> Sequence[Anomaly] | None:
    if not evidence.claims:
        return None
    most, begins = most_in_window(
        [claim.claimed_ms for claim in evidence.claims], evidence.period_ms
    )
    if most <= evidence.starts:
        return ()
    within = [
        claim
        for claim in evidence.claims
        if begins <= claim.claimed_ms < begins + evidence.period_ms
    ]
    return [
        Anomaly(
            f"{most} pages were begun within {evidence.period_s:g} s, {evidence.starts} may be",
            [
                {"workflow_id": claim.workflow_id, "claimed_at": _iso(claim.claimed_ms)}
                for claim in sorted(within, key=lambda claim: claim.claimed_ms)[:SAMPLE]
            ],
        )
    ]


def _concurrency_kept(evidence: CatalogueEvidence) -> Sequence[Anomaly] | None:
    if not evidence.spans:
        return None
    most, moment = most_at_once(evidence.spans)
    if most <= evidence.concurrency:
        return ()
    rows = [
        {
            "workflow_id": claim.workflow_id,
            "began_at": _iso(claim.began_ms),
            "ended_at": _iso(claim.ended_ms),
        }
        for claim in evidence.claims
        if claim.began_ms is not None
        and claim.ended_ms is not None
        and claim.began_ms <= moment < claim.ended_ms
    ]
    return [
        Anomaly(f"{most} pages were at work at once, {evidence.concurrency} may be", rows[:SAMPLE])
    ]


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


PROMISES: Sequence[Promise[CatalogueEvidence]] = (
    Promise("each_once", "no object is in the catalogue twice", _each_once),
    Promise(
        "none_missing",
        "each object of an independent listing is in the catalogue, or its page is reported as"
        " failed, or it is newer than the run",
        _none_missing,
    ),
    Promise(
        "unaltered",
        "the catalogue has the size, time and tag of each object that nobody has touched since",
        _unaltered,
    ),
    Promise(
        "rate_kept",
        "no window as long as period_s has more than `starts` claims of pages",
        _rate_kept,
    ),
    Promise(
        "concurrency_kept", "never are more than `concurrency` pages at work", _concurrency_kept
    ),
)


def account(evidence: CatalogueEvidence) -> Account:
    """Return the figures for people, as JSON values; a page that a kill made begin again counts in
    ``rate`` at its last claim, and its earlier ones in ``restarts``.
    """
    compared = evidence.compared
    summary: dict[str, Any] = {
        "objects": {
            "catalogued": evidence.rows,
            "bytes": evidence.bytes,
            "pages": evidence.pages,
            "skipped": evidence.skipped,
            "failed_pages": evidence.failed,
        },
        "since": {
            "appeared": compared.appeared_since if compared is not None else None,
            "gone": compared.gone_since if compared is not None else None,
            "changed": compared.changed_since if compared is not None else None,
        },
        "prefixes": _largest(evidence.prefixes),
        "rate": {
            "starts": evidence.starts,
            "period_s": evidence.period_s,
            "most_in_a_period": most_in_window(
                [claim.claimed_ms for claim in evidence.claims], evidence.period_ms
            )[0],
        },
        "concurrency": {
            "at_once": evidence.concurrency,
            "most_at_once": most_at_once(evidence.spans)[0],
        },
        "attempts": {
            "bodies": evidence.bodies,
            "restarts": evidence.restarts,
            "retries": evidence.retries,
        },
    }
    if evidence.unchecked:
        summary["unchecked"] = evidence.unchecked
    return summary


def _largest(prefixes: Sequence[tuple[str, int, int]]) -> list[Mapping[str, Any]]:
    shown: list[Mapping[str, Any]] = [
        {"prefix": prefix, "objects": objects, "bytes": size}
        for prefix, objects, size in prefixes[:PREFIXES]
    ]
    others = prefixes[PREFIXES:]
    if others:
        shown.append(
            {
                "prefix": f"({len(others)} others)",
                "objects": sum(objects for _, objects, _ in others),
                "bytes": sum(size for _, _, size in others),
            }
        )
    return shown
