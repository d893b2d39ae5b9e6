"""What a host has in hand of runs: a state for each, and the places that they take.

A run is idle until somebody asks for it; a place is kept for it while it is looked up and written
down; then it is worked on, until it ends, or fails and is given up. Beside that stand whether
somebody is changing it, which is one at a time, and whether it goes on for as long as the host
lives.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from aexp.errors import RunActive
from aexp.runs.host.active_run import ActiveRun

__all__ = ["HostedRun", "HostedRuns", "HostedState"]


class HostedState(Enum):
    """What a host does about a run."""

    IDLE = "idle"
    EXPECTED = "expected"  # a place is kept for it until it is worked on
    ACTIVE = "active"  # it is being worked on
    GIVEN_UP = "given up"  # it failed here: nobody gains if it fails again and again


_IDLE, _EXPECTED, _ACTIVE, _GIVEN_UP = HostedState
_NEXT = {
    _IDLE: {_EXPECTED, _ACTIVE, _GIVEN_UP},
    # Back to where it was when nothing comes of it.
    _EXPECTED: {_ACTIVE, _IDLE, _GIVEN_UP},
    _ACTIVE: {_IDLE, _GIVEN_UP},
    # Only who asks for it again has it worked on.
    _GIVEN_UP: {_IDLE, _EXPECTED},
}


@dataclass(slots=True)
class HostedRun:
    """One run. A transition that makes no sense raises RuntimeError and changes nothing."""

    run_id: str
    # It goes on for as long as the host lives: nobody's place is its.
    standing: bool = False
    _state: HostedState = _IDLE
    _before: HostedState = _IDLE
    _controlled: bool = False
    _active: ActiveRun | None = None

    @property
    def state(self) -> HostedState:
        """What the host does about it now."""
        return self._state

    @property
    def active(self) -> ActiveRun | None:
        """The work on it, while there is some."""
        return self._active

    @property
    def controlled(self) -> bool:
        """Whether somebody is changing it."""
        return self._controlled

    @property
    def given_up(self) -> bool:
        """Whether it failed here, and has not been gone on with since."""
        return _GIVEN_UP in (self._state, self._before)

    @property
    def takes_place(self) -> bool:
        """Whether it is one of those that are counted: expected or worked on, and not standing."""
        return self._state in (_EXPECTED, _ACTIVE) and not self.standing

    @property
    def has_place(self) -> bool:
        """Whether it may be worked on, however many others are."""
        return self._state in (_EXPECTED, _ACTIVE) or self.standing

    @property
    def is_forgettable(self) -> bool:
        """Whether nothing is to be remembered of it."""
        return self._state is _IDLE and not self._controlled and not self.standing

    def expect(self) -> None:
        """Keep a place for it."""
        before = self._state
        self._become(_EXPECTED)
        self._before = before

    def expect_no_more(self) -> None:
        """Let go of its place, since nothing came of it: it is again what it was before."""
        if self._state is not _EXPECTED:
            raise RuntimeError(f"run {self.run_id} is {self._state.value}, and no place is kept")
        self._become(self._before)

    def begin(self, active: ActiveRun) -> None:
        """Have it worked on."""
        self._become(_ACTIVE)
        self._active = active

    def end(self, *, failed: bool) -> None:
        """Have it worked on no more."""
        if self._state is not _ACTIVE:
            raise RuntimeError(f"run {self.run_id} is {self._state.value}: nobody works on it")
        self._become(_GIVEN_UP if failed else _IDLE)
        self._active = None

    def give_up(self) -> None:
        """Give it up before any work was done on it."""
        if self._state is not _IDLE:
            raise RuntimeError(
                f"run {self.run_id} is {self._state.value}: it is not to be given up"
            )
        self._become(_GIVEN_UP)

    def forgive(self) -> None:
        """Take it for one that did not fail, if it did: somebody asks for it again."""
        if self._state is _GIVEN_UP:
            self._become(_IDLE)
        self._before = _IDLE

    def control(self) -> None:
        """Keep all others from changing it. Raises RunActive when somebody does already."""
        if self._controlled:
            raise RunActive(self.run_id)
        self._controlled = True

    def control_no_more(self) -> None:
        """Let others change it again."""
        if not self._controlled:
            raise RuntimeError(f"nobody is changing run {self.run_id}")
        self._controlled = False

    def _become(self, state: HostedState) -> None:
        if state not in _NEXT[self._state]:
            raise RuntimeError(
                f"run {self.run_id} is {self._state.value}: it cannot become {state.value}"
            )
        self._state, self._before = state, _IDLE


class HostedRuns:
    """The runs that a host has in hand, of which it works on ``most`` at a time."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._known: dict[str, HostedRun] = {}

    def find(self, run_id: str) -> HostedRun:
        """Return what is known of a run: it is idle when nothing is. To look at, now."""
        return self._known.get(run_id) or HostedRun(run_id)

    @property
    def active(self) -> Sequence[ActiveRun]:
        """Those that are being worked on."""
        return [known.active for known in self._known.values() if known.active is not None]

    @property
    def in_hand(self) -> Collection[str]:
        """Ids of those that nobody is to look after: worked on, being changed or given up."""
        return [
            known.run_id
            for known in self._known.values()
            if known.state is _ACTIVE or known.controlled or known.given_up
        ]

    @property
    def room(self) -> int:
        """How many more may be worked on."""
        return self.most - sum(known.takes_place for known in self._known.values())

    def is_full(self, run_id: str) -> bool:
        """Return whether there is no place for the run, which has none yet."""
        return not self.find(run_id).has_place and self.room <= 0

    def stand(self, run_id: str) -> None:
        """Have the run go on for as long as the host lives."""
        with self._changing(run_id) as hosted:
            hosted.standing = True

    @contextmanager
    def expecting(self, run_id: str) -> Iterator[None]:
        """Keep a place for the run in this context, if there is one and it has none."""
        kept = self.find(run_id).state in (_IDLE, _GIVEN_UP) and not self.is_full(run_id)
        if kept:
            with self._changing(run_id) as hosted:
                hosted.expect()
        try:
            yield
        finally:
            if kept:
                with self._changing(run_id) as hosted:
                    if hosted.state is _EXPECTED:
                        hosted.expect_no_more()

    @contextmanager
    def controlling(self, run_id: str) -> Iterator[None]:
        """Keep all others from changing the run in this context. Raises RunActive."""
        with self._changing(run_id) as hosted:
            hosted.control()
        try:
            yield
        finally:
            with self._changing(run_id) as hosted:
                hosted.control_no_more()

    def begin(self, active: ActiveRun) -> bool:
        """Have a run worked on, and return whether it was not already and had a place.

        Whoever begins it has forgiven that it failed.
        """
        run_id = active.run.run_id
        with self._changing(run_id) as hosted:
            hosted.forgive()
            if hosted.state is _ACTIVE or self.is_full(run_id):
                return False
            hosted.begin(active)
            return True

    def end(self, active: ActiveRun) -> None:
        """Have a run worked on no more; one that failed is given up."""
        with self._changing(active.run.run_id) as hosted:
            hosted.end(failed=active.failed)

    def give_up(self, run_id: str) -> None:
        """Give up a run of which nothing was begun, unless somebody has it in hand meanwhile."""
        with self._changing(run_id) as hosted:
            if hosted.state is _IDLE:
                hosted.give_up()

    @contextmanager
    def _changing(self, run_id: str) -> Iterator[HostedRun]:
        """Change what is known of a run; it is forgotten when nothing is left of it."""
        hosted = self._known.setdefault(run_id, HostedRun(run_id))
        try:
            yield hosted
        finally:
            if hosted.is_forgettable:
                del self._known[run_id]
