"""Is each message sent once? Pure.

DBOS records a message that a workflow's body sends together with the step that sends it. One that
is sent in a step, or by a client, comes again when the step runs again, unless it has a key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.declared import must_do_as_much
from aexp.crash.judge.evidence import Evidence
from aexp.crash.judge.identity import Place, is_placed_by_chance
from aexp.crash.judge.wording import often
from aexp.model.promise import SAMPLE, Anomaly

__all__ = ["messages_once"]

# To the workflow at a place, on a topic.
_To: TypeAlias = tuple[Place, str | None]


def messages_once(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
    """Check that as many messages are sent to each workflow on each topic as without a fault, where
    that is steady, unless a step that returned something else may be why; None where there is none.
    """
    baseline = comparison.baseline
    known = [_sent(run, places) for run, places in zip(baseline.runs, baseline.places, strict=True)]
    found = _sent(comparison.found, comparison.places)
    if not found and not any(known):
        return None
    may_be_more = comparison.reasons or comparison.took_another_way or baseline.paths_vary
    names = {comparison.places[row.workflow_id]: row.name for row in comparison.found.workflows}
    anomalies = []
    for to in sorted(found.keys() | known[0].keys(), key=str):
        place, topic = to
        expected, number = known[0][to], found[to]
        if number == expected or place not in names or is_placed_by_chance(place):
            continue
        if any(run[to] != expected for run in known):
            continue
        more = number > expected
        if may_be_more if more else not must_do_as_much(comparison):
            continue
        on = "" if topic is None else f" on topic {topic!r}"
        anomalies.append(
            Anomaly(
                f"workflow `{names[place]}` was sent a message{on} {_times(number)}, and"
                f" {_times(expected)} without a fault",
                [{"workflow": place, "topic": topic, "messages": number, "expected": expected}],
                kind="message_repeated" if more else "effect_missing",
                cause=f"message {names[place]} {topic}",
            )
        )
    return anomalies[:SAMPLE]


def _sent(run: Evidence, places: Mapping[str, Place]) -> Counter[_To]:
    return Counter(
        (places[message.workflow_id], message.topic)
        for message in run.messages
        if message.workflow_id in places
    )


def _times(number: int) -> str:
    return often(number) if number else "never"
