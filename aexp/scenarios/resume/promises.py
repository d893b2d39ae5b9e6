"""What ``resume`` promises: the evidence in the database, and pure judgements of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aexp.model.promise import Anomaly, Promise
from aexp.model.scenario import Account

__all__ = ["PROMISES", "PublicationEvidence", "account"]


@dataclass(frozen=True, slots=True)
class PublicationEvidence:
    """What stands in ``aexp.publications`` against what was asked for.

    Counts are of messages, ``rows`` of rows. ``duplicates``, ``lost``, ``altered`` and ``strays``
    are samples: rows, positions, rows, rows. ``unchecked`` says why bodies could not be compared.
    ``counters`` is by channel: what the last process that ended in order held in memory beside the
    durable count; None where none did, or where several executors shared the run.
    """

    delivery: str
    asked: int
    rows: int
    once: int
    more_than_once: int
    never: int
    reported_failed: int
    duplicates: Sequence[Mapping[str, Any]] = ()
    lost: Sequence[int] = ()
    altered: Sequence[Mapping[str, Any]] = ()
    strays: Sequence[Mapping[str, Any]] = ()
    unchecked: str | None = None
    bodies: int = 0
    chunks: int = 0
    most_bodies: int = 0
    counters: Mapping[str, Mapping[str, int | None]] | None = None

    @property
    def lost_count(self) -> int:
        """Messages that are neither published nor reported as failed."""
        return self.never - self.reported_failed

    @property
    def doubles_unheard_of(self) -> int:
        """Rows beyond the first of a message that no process need have counted: of an insert whose
        acknowledgement was lost at-least-once delivery only knows that it is to be repeated.
        """
        if self.delivery != "at-least-once":
            return 0
        return self.rows - self.once - self.more_than_once


def _nothing_lost(evidence: PublicationEvidence) -> Sequence[Anomaly]:
    if evidence.lost_count <= 0:
        return ()
    return [
        Anomaly(
            f"{evidence.lost_count} of {evidence.asked} messages were never published and not"
            " reported as failed",
            [{"position": position} for position in evidence.lost],
        )
    ]


def _no_duplicates(evidence: PublicationEvidence) -> Sequence[Anomaly] | None:
    if not evidence.rows:
        return None
    if not evidence.more_than_once or evidence.delivery == "at-least-once":
        return ()
    return [
        Anomaly(
            f"{evidence.more_than_once} messages were published more than once,"
            f" which {evidence.delivery} does not allow",
            evidence.duplicates,
        )
    ]


def _unaltered(evidence: PublicationEvidence) -> Sequence[Anomaly] | None:
    if not evidence.rows:
        return None
    anomalies = []
    if evidence.altered:
        anomalies.append(Anomaly("messages differ from what was asked for", evidence.altered))
    if evidence.strays:
        anomalies.append(Anomaly("rows that were never asked for", evidence.strays))
    return None if evidence.unchecked and not anomalies else anomalies


def _counters_agree(evidence: PublicationEvidence) -> Sequence[Anomaly] | None:
    if evidence.counters is None:
        return None
    wrong = [
        {"channel": channel, **counter}
        for channel, counter in evidence.counters.items()
        if not _agrees(counter, evidence.doubles_unheard_of)
    ]
    if not wrong:
        return ()
    return [Anomaly("counters in memory differ from the durable count", wrong)]


def _agrees(counter: Mapping[str, int | None], unheard_of: int) -> bool:
    local, durable = counter["local"], counter["durable"]
    if local is None or durable is None or local != counter["global"]:
        return False
    return 0 <= durable - local <= unheard_of


PROMISES: Sequence[Promise[PublicationEvidence]] = (
    Promise(
        "nothing_lost",
        "every message is published, or reported as failed by the workflow",
        _nothing_lost,
    ),
    Promise(
        "no_duplicates",
        "no message is published twice, unless the delivery is at-least-once",
        _no_duplicates,
    ),
    Promise(
        "unaltered",
        "each message has the body and the channel asked for, and there are no others",
        _unaltered,
    ),
    Promise(
        "counters_found_again",
        "the counters in memory equal the durable count, however often the process was killed",
        _counters_agree,
    ),
)


def account(evidence: PublicationEvidence) -> Account:
    """Return the figures for people, as JSON values."""
    summary: dict[str, Any] = {
        "messages": {
            "asked": evidence.asked,
            "once": evidence.once,
            "more_than_once": evidence.more_than_once,
            "never": evidence.never,
            "reported_failed": evidence.reported_failed,
        },
        "step_attempts": {
            "bodies": evidence.bodies,
            "chunks": evidence.chunks,
            "most_for_a_chunk": evidence.most_bodies,
        },
        "counters": evidence.counters or {},
    }
    if evidence.more_than_once and evidence.delivery == "at-least-once":
        summary["note"] = f"{evidence.more_than_once} duplicates, which at-least-once allows"
    if evidence.unchecked:
        summary["unchecked"] = evidence.unchecked
    return summary
