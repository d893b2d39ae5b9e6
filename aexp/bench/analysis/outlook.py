"""From the cost of one message to what ten to the nine a day would take, and what gives way first.

A straight multiplication of what was measured on one machine in seconds: right as long as cost does
not grow, which is what the workloads beside it look at, and as long as workers share nothing but
PostgreSQL. Vacuum, and pages that are logged again after each checkpoint, come on top.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["MESSAGES_A_DAY", "Need", "Outlook", "outlook"]

MESSAGES_A_DAY = 1_000_000_000
_DAY_S = 86_400
# Transaction ids that may be given out before the oldest row must have been frozen
# (PostgreSQL, 24.1.5: two billion).
_XIDS_MOST = 2_000_000_000
_NEEDED = ("rate", "cpu_ms", "server_cpu_ms", "wal_bytes", "table_bytes", "xids", "connections")


@dataclass(frozen=True, slots=True)
class Need:
    """What is needed of one thing, and what there is of it where it was measured.

    ``available`` None means that it is not known, or has no bound. What is ``used_up`` is needed
    anew each day.
    """

    what: str
    needed: float
    available: float | None
    unit: str
    used_up: bool = False

    @property
    def share(self) -> float | None:
        """The part of what there is that is needed all the time; above 1 it does not suffice."""
        return None if self.used_up or not self.available else self.needed / self.available

    @property
    def lasts_days(self) -> float | None:
        """How long there is some of what is used up."""
        if not self.used_up or self.available is None or self.needed <= 0:
            return None
        return self.available / self.needed


@dataclass(frozen=True, slots=True)
class Outlook:
    """What ``messages`` a day take when they are published as in ``variant``."""

    variant: str
    messages: int
    needs: Sequence[Need]

    @property
    def first(self) -> Need | None:
        """What gives way first under load: that of which the greatest part is needed. What is used
        up gives way later, however much there is.
        """
        known = [need for need in self.needs if need.share is not None]
        return max(known, key=lambda need: need.share or 0.0, default=None)

    def as_json(self) -> dict[str, Any]:
        """Return the outlook as JSON values."""
        return {
            "variant": self.variant,
            "messages_a_day": self.messages,
            "needs": [
                {**asdict(need), "share": need.share, "lasts_days": need.lasts_days}
                for need in self.needs
            ],
            "gives_way_first": self.first.what if self.first is not None else None,
        }


def outlook(
    variant: str,
    figures: Mapping[str, float],
    limits: Mapping[str, float | None],
    messages: int = MESSAGES_A_DAY,
) -> Outlook | None:
    """Work out what it takes to publish ``messages`` a day.

    ``figures`` are those of a growth cell with one process, by message but for ``rate`` and
    ``connections``; ``limits`` what the machine and the server have: ``cores``,
    ``max_connections``, ``max_wal_bytes``, ``checkpoint_timeout_s``,
    ``checkpoint_completion_target``, ``disk_free_bytes``. None when a figure is missing, as it is
    where PostgreSQL runs elsewhere.
    """
    if any(name not in figures for name in _NEEDED):
        return None
    a_second = messages / _DAY_S
    workers = math.ceil(a_second / figures["rate"])
    disk = limits.get("disk_free_bytes")
    needs = [
        Need("workers", workers, None, "processes"),
        Need("cores of the workers", a_second * figures["cpu_ms"] / 1000, None, "cores"),
        Need("cores of PostgreSQL", a_second * figures["server_cpu_ms"] / 1000, None, "cores"),
        Need(
            "cores",
            a_second * (figures["cpu_ms"] + figures["server_cpu_ms"]) / 1000,
            limits.get("cores"),
            "cores",
        ),
        Need(
            "connections",
            workers * figures["connections"],
            limits.get("max_connections"),
            "connections",
        ),
        Need("log", a_second * figures["wal_bytes"] / 1e6, _log_limit(limits), "MB a second"),
        Need(
            "tables",
            messages * figures["table_bytes"] / 1e9,
            disk / 1e9 if disk else None,
            "GB a day",
            used_up=True,
        ),
        Need(
            "transaction ids",
            messages * figures["xids"] / 1e6,
            _XIDS_MOST / 1e6,
            "million a day",
            used_up=True,
        ),
    ]
    return Outlook(variant, messages, needs)


def _log_limit(limits: Mapping[str, float | None]) -> float | None:
    """Return the log, in MB a second, with which checkpoints come when due; None if not known.

    With more, the next one comes before its time: then PostgreSQL writes more, and stops for
    nothing (xlog.c, CalculateCheckpointSegments).
    """
    most, every_s = limits.get("max_wal_bytes"), limits.get("checkpoint_timeout_s")
    spread = limits.get("checkpoint_completion_target")
    if not most or not every_s or spread is None:
        return None
    return most / (1 + spread) / every_s / 1e6
