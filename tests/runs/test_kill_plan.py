"""When to kill, and how far a run has come: seeded moments, and counters that lose nothing."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from aexp.engine.recorder.records import Record, StepBegan, StepEnded, StepRecorded
from aexp.processes.progress import Progress, Snapshot
from aexp.runs.kill_plan import (
    LONGEST_DELAY_S,
    SHORTEST_DELAY_S,
    KillMoment,
    KillPlan,
    Strike,
    Striker,
)

moderate = effort(max_examples=50, deadline=None, database=None)

seeds = st.integers(-(2**31), 2**63)
shares = st.floats(0, 1)


def moments(plan: KillPlan, done: Sequence[float]) -> list[KillMoment | None]:
    """The moments of a run that had come as far as ``done`` before each; every kill lands."""
    found = []
    for share in done:
        found.append(plan.next_moment(share))
        plan.landed += 1
    return found


@given(
    seed=seeds,
    kills=st.integers(1, 20),
    steps=st.integers(1, 1000),
    done=st.lists(shares, max_size=20),
)
@moderate
def test_the_same_seed_gives_the_same_moments(
    seed: int, kills: int, steps: int, done: list[float]
) -> None:
    first = moments(KillPlan(kills, seed, steps), done)
    second = moments(KillPlan(kills, seed, steps), done)

    assert first == second
    assert [moment is not None for moment in first] == [
        number < kills for number in range(len(done))
    ]


def test_another_seed_gives_other_moments() -> None:
    planned = {KillPlan(1, seed, 100).next_moment() for seed in range(20)}

    assert len(planned) == 20


@given(
    seed=seeds,
    kills=st.integers(1, 1000),
    steps=st.integers(0, 10_000),
    done=st.floats(0, 2),
)
@moderate
def test_a_moment_is_within_the_steps_and_the_longest_delay(
    seed: int, kills: int, steps: int, done: float
) -> None:
    moment = KillPlan(kills, seed, steps).next_moment(done)

    assert moment is not None
    assert 1 <= moment.steps <= max(1, steps)
    assert 1 <= moment.further <= max(1, steps)
    assert SHORTEST_DELAY_S * 0.999 <= moment.delay_s <= LONGEST_DELAY_S * 1.001


@given(data=st.data(), seed=seeds, steps=st.integers(1, 200))
@moderate
def test_all_kills_fall_before_the_run_ends(data: st.DataObject, seed: int, steps: int) -> None:
    kills = data.draw(st.integers(1, steps))
    plan = KillPlan(kills, seed, steps)

    begun = 0
    while (moment := plan.next_moment(begun / steps)) is not None:
        begun += moment.steps
        plan.landed += 1

    assert plan.landed == kills
    assert begun <= steps


def test_early_and_late_moments_are_both_chosen() -> None:
    planned = [KillPlan(1, seed, 30).next_moment() for seed in range(200)]
    found = [moment for moment in planned if moment is not None]

    assert {moment.steps for moment in found} == set(range(1, 21)), "two thirds of the steps"
    assert min(moment.delay_s for moment in found) < 2 * SHORTEST_DELAY_S
    assert max(moment.delay_s for moment in found) > 0.5 * LONGEST_DELAY_S


@pytest.mark.parametrize(("kills", "landed"), [(0, 0), (3, 3), (3, 4)])
def test_when_all_kills_have_landed_there_is_no_moment(kills: int, landed: int) -> None:
    assert KillPlan(kills, 7, 100, landed).next_moment() is None


def test_a_kill_that_missed_is_planned_again() -> None:
    plan = KillPlan(1, 7, 100)

    assert plan.next_moment() is not None
    assert plan.next_moment() is not None
    plan.landed += 1
    assert plan.next_moment() is None


def test_progress_begins_with_nothing_known() -> None:
    assert Progress().snapshot() == Snapshot(done=0, total=None, steps=0, memory=None)


def test_what_an_earlier_process_did_is_done_but_not_our_own() -> None:
    progress = Progress()

    progress.begin(total=20, done=5)
    progress.advance()
    progress.advance(3)
    progress.step_began()

    assert progress.snapshot() == Snapshot(done=9, total=20, steps=1, memory=None)
    assert progress.own == 4


def test_memory_is_asked_for_each_time() -> None:
    progress = Progress()
    published = {"workflow1": 1}
    progress.remember(lambda: dict(published))

    before = progress.snapshot()
    published["workflow1"] = 2

    assert before.memory == {"workflow1": 1}
    assert progress.snapshot().memory == {"workflow1": 2}


def test_every_observer_is_told_after_each_change() -> None:
    progress = Progress()
    seen: list[Snapshot] = []
    observed: list[int] = []
    # An observer asks at once: were it told within the lock, it would wait for ever.
    progress.observe(lambda: seen.append(progress.snapshot()))
    progress.observe(lambda: observed.append(progress.own))

    progress.begin(total=3, done=1)
    progress.step_began()
    progress.advance(2)

    assert [(state.done, state.total, state.steps) for state in seen] == [
        (1, 3, 0),
        (1, 3, 1),
        (3, 3, 1),
    ]
    assert observed == [0, 0, 2]


def test_an_observer_is_told_on_the_thread_that_made_the_change() -> None:
    progress = Progress()
    observed: list[int] = []
    progress.observe(lambda: observed.append(threading.get_ident()))

    thread = threading.Thread(target=progress.step_began)
    thread.start()
    thread.join()
    progress.step_began()

    assert observed == [thread.ident, threading.get_ident()]


def contended(meeting_s: float) -> type[int]:
    """An int that is slow to add to: the sum is made when a second thread adds, or after a time.

    Two threads that add to it at once both add to the same value, and one addition is lost.
    """
    both = threading.Barrier(2)

    class Contended(int):
        def __add__(self, other: int) -> int:
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(meeting_s)
            return int(self) + other

    return Contended


CHANGES: dict[str, Callable[[Progress], None]] = {
    "_done": Progress.advance,
    "_own": Progress.advance,
    "_steps": Progress.step_began,
}


def count_on_two_threads(progress: Progress, counter: str, meeting_s: float) -> Any:
    """What ``counter`` says after two changes that were made to overlap if anything lets them."""
    setattr(progress, counter, contended(meeting_s)(0))
    threads = [threading.Thread(target=CHANGES[counter], args=[progress]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return getattr(progress, counter)


@pytest.mark.parametrize("counter", CHANGES)
def test_no_change_is_lost_between_threads(counter: str) -> None:
    assert count_on_two_threads(Progress(), counter, meeting_s=0.1) == 2


@pytest.mark.parametrize("counter", CHANGES)
def test_without_its_lock_a_change_would_be_lost(counter: str) -> None:
    progress = Progress()
    progress._lock = contextlib.nullcontext()  # type: ignore[assignment]

    assert count_on_two_threads(progress, counter, meeting_s=30) == 1


def strikes(plan: KillPlan) -> list[Strike]:
    """The strikes of a run, each of which lands."""
    found = []
    while (strike := plan.next_strike()) is not None:
        found.append(strike)
        plan.landed += 1
    return found


def test_of_a_run_of_unknown_length_the_first_steps_are_the_likeliest() -> None:
    found = [strike for seed in range(400) for strike in strikes(KillPlan(1, seed, None))]
    bodies = [strike.bodies for strike in found]

    assert bodies.count(1) > bodies.count(2) > bodies.count(4) > 0
    assert max(bodies) > 4
    assert {strike.at_end for strike in found} == {False, True}


def test_a_run_has_either_moments_or_strikes_and_as_many_as_kills() -> None:
    assert len(strikes(KillPlan(3, 7, None))) == 3
    assert strikes(KillPlan(3, 7, None)) == strikes(KillPlan(3, 7, None))
    assert KillPlan(3, 7, None).next_moment() is None
    assert strikes(KillPlan(3, 7, 100)) == []


@pytest.mark.parametrize("strike", [Strike(1, at_end=False), Strike(20, at_end=True)])
def test_a_strike_is_handed_over_as_text(strike: Strike) -> None:
    assert Strike.parse(str(strike)) == strike
    with pytest.raises(ValueError, match="begin:N or end:N"):
        Strike.parse("middle:2")


@pytest.mark.parametrize(("at_end", "kind"), [(False, StepBegan), (True, StepEnded)])
def test_a_process_is_struck_once_where_it_was_said(at_end: bool, kind: type[Record]) -> None:
    place: dict[str, Any] = {"workflow_id": "w", "step_id": 1, "pid": 7, "at": 0.0, "epoch": 0.0}
    body: list[Record] = [
        StepBegan(**place, name="charge"), StepEnded(**place), StepRecorded(**place)
    ]  # fmt: skip
    struck: list[Record] = []
    seen: list[Record] = []
    strike = Striker(Strike(2, at_end=at_end), lambda: struck.append(seen[-1]))
    for record in 3 * body:
        seen.append(record)
        strike(record)
        if len(seen) == 3:
            assert struck == []

    assert [type(record) for record in struck] == [kind]
    assert len(seen) == 9
