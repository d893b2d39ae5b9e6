"""Was a request that changes something sent twice, so that its receiver cannot know it? Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.declared import must_do_as_much
from aexp.crash.judge.evidence import Evidence
from aexp.crash.judge.fault_free import FaultFreeRuns
from aexp.crash.judge.repetitions import idempotent_steps
from aexp.crash.judge.sendings import (
    Sending,
    exact,
    find_left_out,
    find_more_often,
    route_of,
    vary_in_number,
)
from aexp.crash.judge.spans import StepKey
from aexp.crash.judge.wording import often
from aexp.engine.recorder.records import SeenEffect, StepCall
from aexp.model.promise import SAMPLE, Anomaly

__all__ = ["RepeatedRequest", "describe_requests", "repeated_requests", "requests_once", "unite"]

_LONGEST = 100


@dataclass(frozen=True, slots=True)
class RepeatedRequest:
    """A request that was sent more often than without a fault: at how many points, and how often
    there at most. ``told`` says why that is right, or what is wrong.
    """

    stub: str
    request: str
    told: str
    expected: int
    most: int
    points: int = 1

    def as_json(self) -> dict[str, Any]:
        """Return the request as JSON values."""
        return asdict(self)


def requests_once(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
    """Check that no step sends again, in another run of its body, what is neither idempotent nor
    has the same key, and that nothing is left out that every run without a fault sends, unless a
    step that returned something else may be why; None where there is no stub.

    What is sent outside of steps, such as a login when a module is imported, comes with each
    process; see ``effects_in_steps`` for the bodies of workflows.
    """
    if not any(run.requests for run in (comparison.found, *comparison.baseline.runs)):
        return None
    idempotent, sites = idempotent_steps(comparison.found), _sites(comparison.found)
    anomalies = [
        _anomaly(sendings, sites)
        for group in find_more_often(comparison)
        if group.may_come_twice is None
        for sendings in group.repeated
        if not _declared(sendings, idempotent)
    ]
    if must_do_as_much(comparison):
        anomalies += [
            Anomaly(
                f"{method} {path} {_short(body)}".rstrip()
                + f" was not sent to {stub}, and is without a fault",
                kind="effect_missing",
                cause=f"{stub} {method} {path}",
            )
            for stub, method, path, body in sorted(find_left_out(comparison))
        ]
    return anomalies[:SAMPLE]


def repeated_requests(comparison: BaselineComparison) -> list[RepeatedRequest]:
    """Return what was sent more often than without a fault, and what is to be said of it."""
    idempotent = idempotent_steps(comparison.found)
    repeated = []
    for group in find_more_often(comparison):
        told = group.may_come_twice
        if told is None and group.repeated:
            fine = all(_declared(sendings, idempotent) for sendings in group.repeated)
            told = "declared as idempotent" if fine else _keys(group.sendings)
        if told is not None:
            name, number = _described(group.sendings), len(group.sendings)
            repeated.append(RepeatedRequest(group.first.stub, name, told, group.expected, number))
    return repeated


def unite(found: Sequence[RepeatedRequest]) -> list[RepeatedRequest]:
    """Unite what was found of a request at several points, those at most points first."""
    groups: defaultdict[tuple[str, str, str], list[RepeatedRequest]] = defaultdict(list)
    for each in found:
        groups[each.stub, each.request, each.told].append(each)
    united = [
        RepeatedRequest(
            *name,
            expected=max(each.expected for each in group),
            most=max(each.most for each in group),
            points=len(group),
        )
        for name, group in groups.items()
    ]
    return sorted(united, key=lambda each: (-each.points, each.request))


def describe_requests(runs: FaultFreeRuns) -> list[Anomaly]:
    """Name the requests that vary in number without a fault, and those that no route takes."""
    notes = []
    for name, numbers in vary_in_number(runs).items():
        what = (
            f"{name[1]} {name[2]} of {name[0]} was sent {min(numbers)} to {max(numbers)} times"
            " without a fault, and is not compared"
        )
        notes.append(Anomaly(what, kind="unsteady", cause=what))
    missing = {
        (each.stub, each.method, each.path.partition("?")[0])
        for run in runs.runs
        for each in run.requests
        if each.route is None
    }
    notes += [
        Anomaly(f"{stub} has no route for {method} {path}, and answered 404", kind="no_route")
        for stub, method, path in sorted(missing)[:SAMPLE]
    ]
    return notes


def _declared(sendings: Sequence[Sending], idempotent: set[StepKey]) -> bool:
    """Return whether the author says that what these do may happen twice."""
    return all(sending.steps <= idempotent for sending in sendings)


def _sites(found: Evidence) -> Mapping[tuple[StepKey, str], str]:
    """Return the line at which a step connects to a stub: one in a file in which workflows call
    steps, else a client's own code connects, and the line that calls the step is better.
    """
    calls: dict[StepKey, str] = {}
    connects: dict[tuple[StepKey, str], str] = {}
    for recorded in found.records:
        record = recorded.record
        if record.step_id is None:
            continue
        step = record.workflow_id, record.step_id
        if isinstance(record, StepCall) and record.site is not None:
            calls.setdefault(step, record.site)
        elif isinstance(record, SeenEffect) and record.site is not None:
            connects.setdefault((step, record.target), record.site)
    files = {_file(site) for site in calls.values()}
    stubs = {request.stub for request in found.requests}
    return {
        **{(step, stub): site for step, site in calls.items() for stub in stubs},
        **{place: site for place, site in connects.items() if _file(site) in files},
    }


def _file(site: str) -> str:
    return site.rpartition(":")[0]


def _anomaly(sendings: Sequence[Sending], sites: Mapping[tuple[StepKey, str], str]) -> Anomaly:
    first = sendings[0]
    by = f", by step `{first.name}`" if first.name is not None else ""
    lives = sorted({sending.life + 1 for sending in sendings if sending.life is not None})
    where = ""
    if lives:
        where = f", in process{'es' if len(lives) > 1 else ''} {_listed(lives)}"
    return Anomaly(
        f"{_described(sendings)} was sent {often(len(sendings))} {_keys(sendings)}{by}{where}",
        [_row(sending) for sending in sendings[:SAMPLE]],
        kind="request_repeated",
        cause=f"{' '.join(route_of(first.request))}{by}",
        where=next((sites.get((step, first.request.stub)) for step in first.steps), None),
    )


def _row(sending: Sending) -> Mapping[str, Any]:
    request = sending.request
    ids = [step for step, _ in sending.running] if sending.body is not None else []
    return {
        "process": None if sending.life is None else sending.life + 1,
        **({"workflow_id": ids[0][0], "step_id": ids[0][1]} if ids else {}),
        "step": sending.name,
        "stub": request.stub,
        "path": request.path,
        "key": request.key,
        "body": _short(request.body),
        "status": request.status,
    }


def _described(sendings: Sequence[Sending]) -> str:
    first = sendings[0].request
    if all(exact(sending.request) == exact(first) for sending in sendings):
        return f"{first.method} {first.path} {_short(first.body)}".rstrip()
    return f"{first.method} {first.route or first.path}"


def _short(body: str) -> str:
    text = " ".join(body.split())
    return f"{text[:_LONGEST]}…" if len(text) > _LONGEST else text


def _keys(sendings: Sequence[Sending]) -> str:
    keys = [sending.request.key for sending in sendings]
    if not any(keys):
        return "without an Idempotency-Key"
    if all(keys):
        return "with another Idempotency-Key each time"
    return "now with an Idempotency-Key and now without"


def _listed(numbers: Sequence[int]) -> str:
    *others, last = map(str, numbers)
    return f"{', '.join(others)} and {last}" if others else last
