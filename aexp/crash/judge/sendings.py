"""Which requests came more often than without a fault, and which steps sent them again. Pure.

Two requests are the same when stub, method, path and body are. Where no two runs without a fault
have them in common, as when a time stands in the body, those of one method and route are counted
together. Which step sent a request is known by when its body ran.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from aexp.crash.http.received import ReceivedRequest
from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.evidence import Evidence
from aexp.crash.judge.fault_free import FaultFreeRuns
from aexp.crash.judge.identity import is_tick
from aexp.crash.judge.spans import BodySpan, StepKey, body_spans

__all__ = [
    "RequestGroup",
    "Sending",
    "exact",
    "find_left_out",
    "find_more_often",
    "route_of",
    "vary_in_number",
]

# RFC 9110, 9.2.2: sent twice they do what they do once.
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_ERROR = 400

# Stub, method, path, body; and stub, method, route.
_Request: TypeAlias = tuple[str, str, str, str]
_Route: TypeAlias = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Sending:
    """A request, and the bodies of steps that ran when it came: one of them has sent it."""

    request: ReceivedRequest
    running: Sequence[tuple[StepKey, BodySpan]]

    @property
    def steps(self) -> frozenset[StepKey]:
        return frozenset(step for step, _ in self.running)

    @property
    def name(self) -> str | None:
        """The step's name, where all have the same."""
        names = {body.name for _, body in self.running}
        return names.pop() if len(names) == 1 else None

    @property
    def body(self) -> BodySpan | None:
        return self.running[0][1] if len(self.running) == 1 else None

    @property
    def life(self) -> int | None:
        return self.request.life if self.body is None else self.body.life


@dataclass(frozen=True, slots=True)
class RequestGroup:
    """Requests that are the same, or of one route where they differ without a fault, too.

    ``expected`` is how often they are sent without a fault, ``effects`` how often of these they
    have an effect: once for each key. ``repeated`` are those that a step has sent again in another
    run of its body, by step.
    """

    sendings: Sequence[Sending]
    expected: int
    effects: int
    repeated: Sequence[Sequence[Sending]]

    @property
    def first(self) -> ReceivedRequest:
        return self.sendings[0].request

    @property
    def may_come_twice(self) -> str | None:
        """Why it does no harm that they came more often; None where it does."""
        if self.first.method in _IDEMPOTENT:
            return f"{self.first.method} may come twice"
        if self.first.safe:
            return "the route is safe"
        if _effects(self.sendings) <= self.effects:
            return "the same Idempotency-Key"
        if not any(sending.running for sending in self.sendings):
            return "outside any step"
        return None


def find_more_often(comparison: BaselineComparison) -> Iterator[RequestGroup]:
    """Yield the requests that were sent more often than without a fault, where their number is
    steady there.
    """
    runs = comparison.baseline
    steady = _in_all(runs)
    counts, effects = _counts(runs, steady), _counts(runs, steady, of=_effects_of)
    groups: defaultdict[_Request | _Route, list[Sending]] = defaultdict(list)
    routes: defaultdict[_Route, list[Sending]] = defaultdict(list)
    for sending in _sendings(comparison.found):
        groups[_name(sending.request, steady)].append(sending)
        routes[route_of(sending.request)].append(sending)
    for name, sendings in groups.items():
        numbers = counts.get(name, [0])
        if min(numbers) == max(numbers) < len(sendings):
            of_route = routes[route_of(sendings[0].request)]
            repeated = list(_repeated(sendings, of_route, same_path=comparison.same_path))
            yield RequestGroup(sendings, numbers[0], max(effects.get(name, [0])), repeated)


def find_left_out(comparison: BaselineComparison) -> frozenset[_Request]:
    """Return the requests that change something, that every run without a fault has sent, and that
    were not sent, nor others of the same route in their place. None where a stub has answered with
    an error, or a schedule has started something: what is sent follows from that.
    """
    runs = comparison.baseline.runs
    everything = [each for run in (*runs, comparison.found) for each in run.requests]
    ticks = any(is_tick(row) for run in (*runs, comparison.found) for row in run.workflows)
    if ticks or any(each.status >= _ERROR for each in everything):
        return frozenset()
    sent = {exact(each) for each in comparison.found.requests}
    safe = {exact(each) for each in everything if each.safe}
    missing = _in_all(comparison.baseline) - sent - safe
    now = Counter(route_of(each) for each in comparison.found.requests)
    usual = [Counter(route_of(each) for each in run.requests) for run in runs]
    return frozenset(
        exact(each)
        for each in runs[0].requests
        if exact(each) in missing
        and each.method not in _IDEMPOTENT
        and now[route_of(each)] < min(run[route_of(each)] for run in usual)
    )


def _in_all(runs: FaultFreeRuns) -> frozenset[_Request]:
    """Return the requests that every run without a fault has."""
    return frozenset(
        set.intersection(*({exact(each) for each in run.requests} for run in runs.runs))
    )


def exact(request: ReceivedRequest) -> _Request:
    """Return what is the same of the same request."""
    return request.stub, request.method, request.path, request.body


def _name(request: ReceivedRequest, steady: frozenset[_Request]) -> _Request | _Route:
    name = exact(request)
    return name if name in steady else route_of(request)


def route_of(request: ReceivedRequest) -> _Route:
    """Return stub, method and route: the path without its query where there is none."""
    return request.stub, request.method, request.route or request.path.partition("?")[0]


def _effects(sendings: Sequence[Sending]) -> int:
    return _effects_of([sending.request for sending in sendings])


def _effects_of(requests: Sequence[ReceivedRequest]) -> int:
    """Return how many effects the requests have: one for each key, one for each without."""
    keys = {request.key for request in requests if request.key}
    return len(keys) + sum(not request.key for request in requests)


def _counts(
    runs: FaultFreeRuns, steady: frozenset[_Request], of: Any = len
) -> Mapping[_Request | _Route, Sequence[int]]:
    """Return, by name, how often each run without a fault sent a request."""
    by_run = []
    for run in runs.runs:
        groups: defaultdict[_Request | _Route, list[ReceivedRequest]] = defaultdict(list)
        for request in run.requests:
            groups[_name(request, steady)].append(request)
        by_run.append(groups)
    names = dict.fromkeys(name for groups in by_run for name in groups)
    return {name: [of(groups[name]) for groups in by_run] for name in names}


def vary_in_number(runs: FaultFreeRuns) -> Mapping[_Request | _Route, Sequence[int]]:
    """Return, by name, how often each run without a fault sent what not all sent as often, of what
    must not come twice.
    """
    steady = _in_all(runs)
    safe = {_name(each, steady) for run in runs.runs for each in run.requests if each.safe}
    return {
        name: numbers
        for name, numbers in _counts(runs, steady).items()
        if len(set(numbers)) > 1 and name[1] not in _IDEMPOTENT and name not in safe
    }


def _sendings(found: Evidence) -> Iterator[Sending]:
    spans = body_spans(found)
    for request in found.requests:
        running = [
            (step, span)
            for step, bodies in spans.items()
            for span in bodies
            if span.covers(span.life if request.life is None else request.life, request.at)
        ]
        yield Sending(request, running)


def _repeated(
    sendings: Sequence[Sending], of_route: Sequence[Sending], *, same_path: bool
) -> Iterator[Sequence[Sending]]:
    """Yield what a step sent again in another run of its body, of these or of the same route; and
    what one of several steps has sent again, where all workflows took the same steps.
    """
    for steps in dict.fromkeys(sending.steps for sending in sendings if sending.running):
        if len(steps) == 1:
            known = [
                [each for each in some if each.steps == steps] for some in (sendings, of_route)
            ]
            yield from [found for found in known if _is_repeated(found)][:1]
    unknown = [sending for sending in sendings if len(sending.steps) > 1]
    if same_path and _is_repeated(unknown):
        yield unknown


def _is_repeated(sendings: Sequence[Sending]) -> bool:
    """Return whether these are more than one run of a body has sent: as in a loop, it means to."""
    bodies: defaultdict[object, list[Sending]] = defaultdict(list)
    for sending in sendings:
        bodies[sending.body or sending.life].append(sending)
    return bool(bodies) and _effects(sendings) > max(map(_effects, bodies.values()))
