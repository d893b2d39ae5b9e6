"""The state of a run in a host: what may follow what, and the places that runs take."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aexp.errors import RunActive
from aexp.model.run import Run
from aexp.runs.host.active_run import ActiveRun
from aexp.runs.host.hosted_run import HostedRun, HostedRuns, HostedState
from aexp.runs.kill_plan import KillPlan


def work_on(run_id: str) -> ActiveRun:
    """Work on the run ``run_id``, which nobody does."""
    return ActiveRun(Run(run_id, "scope", "scope", {}, {}, f"run-{run_id}"), KillPlan(0, 0, None))


def in_state(state: HostedState) -> HostedRun:
    hosted = HostedRun("r")
    match state:
        case HostedState.IDLE:
            pass
        case HostedState.EXPECTED:
            hosted.expect()
        case HostedState.ACTIVE:
            hosted.begin(work_on("r"))
        case HostedState.GIVEN_UP:
            hosted.give_up()
    return hosted


def state_of(hosted: HostedRun) -> HostedState:
    """Its state of this moment, which a check before a transition says nothing about."""
    return hosted.state


TRANSITIONS: dict[str, Callable[[HostedRun], None]] = {
    "expect": HostedRun.expect,
    "expect no more": HostedRun.expect_no_more,
    "begin": lambda hosted: hosted.begin(work_on("r")),
    "end": lambda hosted: hosted.end(failed=False),
    "fail": lambda hosted: hosted.end(failed=True),
    "give up": HostedRun.give_up,
    "forgive": HostedRun.forgive,
}
IDLE, EXPECTED, ACTIVE, GIVEN_UP = HostedState
LEGAL = {
    (IDLE, "expect"): EXPECTED,
    (IDLE, "begin"): ACTIVE,
    (IDLE, "give up"): GIVEN_UP,
    (IDLE, "forgive"): IDLE,
    (EXPECTED, "expect no more"): IDLE,
    (EXPECTED, "begin"): ACTIVE,
    (EXPECTED, "forgive"): EXPECTED,
    (ACTIVE, "end"): IDLE,
    (ACTIVE, "fail"): GIVEN_UP,
    (ACTIVE, "forgive"): ACTIVE,
    (GIVEN_UP, "expect"): EXPECTED,
    (GIVEN_UP, "forgive"): IDLE,
}


@pytest.mark.parametrize("state", HostedState)
@pytest.mark.parametrize("name", TRANSITIONS)
def test_what_makes_no_sense_is_an_error_and_changes_nothing(state: HostedState, name: str) -> None:
    hosted = in_state(state)
    after = LEGAL.get((state, name))
    if after is None:
        active = hosted.active
        with pytest.raises(RuntimeError):
            TRANSITIONS[name](hosted)
        assert (state_of(hosted), hosted.active) == (state, active)
    else:
        TRANSITIONS[name](hosted)
        assert state_of(hosted) is after
    # There is work on it while it is worked on, and never else.
    assert (hosted.active is not None) == (state_of(hosted) is ACTIVE)


def test_one_that_was_given_up_is_so_again_when_nothing_comes_of_it() -> None:
    hosted = in_state(GIVEN_UP)
    hosted.expect()
    assert (state_of(hosted), hosted.given_up) == (EXPECTED, True)
    hosted.expect_no_more()
    assert state_of(hosted) is GIVEN_UP
    hosted.expect()
    hosted.begin(work_on("r"))
    assert (state_of(hosted), hosted.given_up) == (ACTIVE, False)
    hosted.end(failed=False)
    assert state_of(hosted) is IDLE


def test_one_that_is_gone_on_with_while_a_place_is_kept_is_no_longer_given_up() -> None:
    hosted = in_state(GIVEN_UP)
    hosted.expect()
    hosted.forgive()
    hosted.expect_no_more()
    assert state_of(hosted) is IDLE


def test_one_at_a_time_changes_a_run() -> None:
    runs = HostedRuns(1)
    with runs.controlling("r"):
        assert runs.find("r").controlled
        with pytest.raises(RunActive), runs.controlling("r"):
            pytest.fail("two change it")
        assert runs.find("r").controlled
    assert not runs.find("r").controlled


def test_a_place_is_kept_until_a_run_has_ended_and_then_for_the_next() -> None:
    runs = HostedRuns(1)
    with runs.expecting("one"):
        assert runs.is_full("two")
        assert not runs.is_full("one")
        with runs.expecting("two"):
            # There is none for it.
            assert not runs.begin(work_on("two"))
        one = work_on("one")
        assert runs.begin(one)
        assert not runs.begin(work_on("one"))
    assert (runs.room, runs.active, runs.in_hand) == (0, [one], ["one"])
    runs.end(one)
    assert (runs.room, runs.active, runs.in_hand) == (1, [], [])
    with runs.expecting("two"):
        assert runs.room == 0
    assert runs.room == 1


def test_a_standing_run_takes_nobodys_place() -> None:
    runs = HostedRuns(1)
    runs.stand("standing")
    standing, one = work_on("standing"), work_on("one")
    assert runs.begin(one)
    assert runs.begin(standing)
    assert runs.room == 0
    runs.end(one)
    assert runs.room == 1
    runs.end(standing)
    assert runs.find("standing").standing


def test_one_that_failed_is_in_hand_until_it_is_asked_for_again() -> None:
    runs = HostedRuns(1)
    active = work_on("r")
    assert runs.begin(active)
    active.failed = True
    runs.end(active)
    assert runs.in_hand == ["r"]
    assert runs.room == 1
    # Without a place for it now it is looked after later.
    other = work_on("other")
    assert runs.begin(other)
    assert not runs.begin(work_on("r"))
    assert runs.in_hand == ["other"]
    runs.end(other)
    # What somebody has in hand is not given up from aside.
    with runs.expecting("r"):
        runs.give_up("r")
    assert not runs.find("r").given_up
    runs.give_up("r")
    assert runs.find("r").given_up
