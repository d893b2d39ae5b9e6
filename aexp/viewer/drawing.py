"""From rows to a timeline. Pure."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aexp.durable.fan_out import parent_of
from aexp.model.run import ProcessRecord
from aexp.viewer.timeline import (
    Attempt,
    Bar,
    BarKind,
    BodyRow,
    Fate,
    Lane,
    Life,
    LifeKind,
    StepRow,
    Timeline,
    WorkflowRow,
)

__all__ = ["draw_timeline"]

# Where DBOS puts what was called directly and is recovered.
_INTERNAL_QUEUE = "_dbos_internal_queue"
_WAITS = frozenset({"DBOS.getResult", "DBOS.recv", "DBOS.getEvent"})


def draw_timeline(
    processes: Sequence[ProcessRecord],
    workflows: Sequence[WorkflowRow],
    steps: Sequence[StepRow],
    bodies: Sequence[BodyRow],
    *,
    created_ms: int,
    now_ms: int,
    alive: bool,
    truncated: Mapping[str, int] | None = None,
) -> Timeline:
    """Draw the timeline of a run.

    ``created_ms`` is when the run was recorded, which counts when nothing else has happened.
    ``alive`` says whether the last process still works: it then lives at ``now_ms``.
    """
    starts = [_ms(process.started_at) for process in processes]
    began_at = min([*starts, *(row.created_ms for row in workflows)], default=created_ms)
    traces = _traces(workflows, steps, bodies)
    lives = _lives(processes, traces, began_at, now_ms if alive else None)
    steps_of = _grouped(steps)
    bodies_of = _grouped(bodies)
    drawn = _Drawn(began_at, lives)
    lanes = [
        drawn.lane(row, parent_id, parent, depth, steps_of[row.workflow_id], bodies_of)
        for row, parent_id, parent, depth in _as_tree(workflows, steps)
    ]
    last = max(
        [*(life.ended for life in lives), *(trace - began_at for trace in traces)], default=0
    )
    return Timeline(
        began_at=began_at,
        ended_at=began_at + max(last, 0),
        processes=lives,
        lanes=lanes,
        truncated={what: count for what, count in (truncated or {}).items() if count},
    )


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _grouped(rows: Iterable[Any]) -> defaultdict[str, list[Any]]:
    grouped: defaultdict[str, list[Any]] = defaultdict(list)
    for row in rows:
        grouped[row.workflow_id].append(row)
    return grouped


def _traces(
    workflows: Sequence[WorkflowRow], steps: Sequence[StepRow], bodies: Sequence[BodyRow]
) -> Sequence[int]:
    """Return every moment at which some process must have been alive, in order."""
    traces = [row.created_ms for row in workflows]
    traces += [row.completed_ms for row in workflows if row.completed_ms is not None]
    for step in steps:
        # A sleep's checkpoint is written when it begins and carries the end that is planned.
        moment = step.began_ms if _kind(step) == "sleep" else step.ended_ms
        if moment is not None:
            traces.append(moment)
    traces += [int(body.began_ms) for body in bodies]
    return sorted(traces)


def _lives(
    processes: Sequence[ProcessRecord], traces: Sequence[int], began_at: int, now: int | None
) -> list[Life]:
    """Return the lives of the processes; the last of them still lasts when ``now`` is given."""
    lives = []
    for place, process in enumerate(processes):
        began = _ms(process.started_at)
        following = processes[place + 1 : place + 2]
        works = now is not None and not following and process.ended is None
        if works:
            assert now is not None
            ended = max(began, now)
        elif process.ended_at is not None:
            ended = _ms(process.ended_at)
        else:
            left = bisect_right(traces, _ms(following[0].started_at)) if following else len(traces)
            ended = max(began, traces[left - 1]) if left else began
        how = "still working" if works else process.ended or "vanished"
        lives.append(
            Life(
                number=place + 1,
                pid=process.pid,
                executor=process.executor_id,
                began=began - began_at,
                ended=ended - began_at,
                how=how,
                kind="working" if works else _life_kind(how),
                seen=works or process.ended_at is not None,
            )
        )
    return lives


def _life_kind(how: str) -> LifeKind:
    if how.startswith("killed"):
        return "killed"
    return how if how in {"completed", "interrupted", "vanished"} else "failed"  # type: ignore[return-value]


def _kind(step: StepRow) -> BarKind:
    if step.name == "DBOS.sleep":
        return "sleep"
    if step.name in _WAITS:
        return "wait"
    return "start" if step.child_workflow_id is not None else "step"


def _natural(text: str) -> tuple[tuple[int, str], ...]:
    """Return a key under which ``a.10`` comes after ``a.9``."""
    return tuple(
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)
    )


def _parents(
    workflows: Sequence[WorkflowRow], steps: Sequence[StepRow]
) -> Mapping[str, str | None]:
    """Find who started whom: DBOS says so, or a step of the parent does, or the id itself."""
    known = {row.workflow_id for row in workflows}
    parent_ids = {
        step.child_workflow_id: step.workflow_id for step in steps if step.child_workflow_id
    }
    parents: dict[str, str | None] = {}
    for row in workflows:
        parent = row.parent_id or parent_ids.get(row.workflow_id)
        if parent is None and (found := parent_of(row.workflow_id)) in known:
            parent = found
        parents[row.workflow_id] = parent if parent != row.workflow_id else None
    return parents


def _as_tree(
    workflows: Sequence[WorkflowRow], steps: Sequence[StepRow]
) -> Iterable[tuple[WorkflowRow, str | None, int | None, int]]:
    """Yield each workflow with its parent's id, the parent's place in this order, and its depth."""
    parents = _parents(workflows, steps)
    known = {row.workflow_id for row in workflows}
    children: defaultdict[str | None, list[WorkflowRow]] = defaultdict(list)
    for row in sorted(workflows, key=lambda row: (row.created_ms, _natural(row.workflow_id))):
        parent = parents[row.workflow_id]
        children[parent if parent in known else None].append(row)
    places: dict[str, int] = {}
    for root in [*children[None], *workflows]:
        # Those that name each other as parents hang on no root: the first of them becomes one.
        pending = [(root, 0)] if root.workflow_id not in places else []
        while pending:
            row, depth = pending.pop()
            if row.workflow_id in places:
                continue
            parent = parents[row.workflow_id]
            yield row, parent, places.get(parent) if parent is not None else None, depth
            places[row.workflow_id] = len(places)
            pending += [(child, depth + 1) for child in reversed(children[row.workflow_id])]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Lanes on the time of a run."""

    began_at: int
    lives: Sequence[Life]

    def _at(self, moment: float | None) -> int | None:
        return None if moment is None else int(moment) - self.began_at

    def lane(
        self,
        row: WorkflowRow,
        parent_id: str | None,
        parent: int | None,
        depth: int,
        steps: Sequence[StepRow],
        bodies_of: Mapping[str, Sequence[BodyRow]],
    ) -> Lane:
        bodies = bodies_of.get(row.workflow_id, ())
        began_times = Counter(body.step_id for body in bodies)
        bars = sorted(
            (self._bar(step, row, began_times.get(step.function_id)) for step in steps),
            key=lambda bar: (bar.began, bar.function_id),
        )
        completed = self._at(row.completed_ms)
        attempted = self._attempted(bodies, {bar.function_id: bar for bar in bars}, completed)
        started = self._at(row.started_ms)
        firsts = [bar.began for bar in bars] + [attempt.began for attempt in attempted]
        return Lane(
            workflow_id=row.workflow_id,
            name=row.name,
            parent_id=parent_id,
            parent=parent,
            depth=depth,
            queue=row.queue,
            mode="direct" if row.queue in {None, _INTERNAL_QUEUE} else "queued",
            status=row.status,
            created=row.created_ms - self.began_at,
            began=min([*firsts, *([started] if started is not None else [])], default=None),
            started=started,
            completed=completed,
            attempts=row.attempts,
            output=row.output,
            error=row.error,
            bars=bars,
            attempted=attempted,
        )

    def _bar(self, step: StepRow, row: WorkflowRow, bodies: int | None) -> Bar:
        began = step.began_ms if step.began_ms is not None else step.ended_ms or row.created_ms
        ended = max(began, step.ended_ms if step.ended_ms is not None else began)
        return Bar(
            function_id=step.function_id,
            name=step.name,
            began=began - self.began_at,
            ended=ended - self.began_at,
            kind=_kind(step),
            outcome="ok" if step.error is None else "error",
            process=self._alive_at(ended - self.began_at),
            child_workflow_id=step.child_workflow_id,
            bodies=bodies,
            output=step.output,
            error=step.error,
        )

    def _alive_at(self, moment: int) -> int | None:
        for place in reversed(range(len(self.lives))):
            if self.lives[place].began <= moment:
                return place if moment <= self.lives[place].ended else None
        return None

    def _process_of(self, body: BodyRow) -> int | None:
        """Find a body's process by its pid, which may come again; by the time where no record has
        it.
        """
        moment = int(body.began_ms) - self.began_at
        for place in reversed(range(len(self.lives))):
            if self.lives[place].pid == body.pid and self.lives[place].began <= moment:
                return place
        return self._alive_at(moment)

    def _attempted(
        self, bodies: Sequence[BodyRow], bars: Mapping[int, Bar], completed: int | None
    ) -> list[Attempt]:
        by_step: defaultdict[int, list[BodyRow]] = defaultdict(list)
        for body in sorted(bodies, key=lambda body: body.began_ms):
            by_step[body.step_id].append(body)
        attempted = []
        for step_id, tries in by_step.items():
            for body, following in zip(tries, [*tries[1:], None], strict=True):
                attempt = self._attempt(body, following, bars.get(step_id), completed)
                if attempt is not None:
                    attempted.append(attempt)
        return sorted(attempted, key=lambda attempt: (attempt.began, attempt.function_id))

    def _attempt(
        self, body: BodyRow, following: BodyRow | None, bar: Bar | None, completed: int | None
    ) -> Attempt | None:
        """Say what became of ``body``; None when it simply came to its checkpoint."""
        process = self._process_of(body)
        began = int(body.began_ms) - self.began_at
        life = self.lives[process] if process is not None else None
        end = life.ended if life is not None else began
        fate: Fate = "lost"
        if body.checkpointed:
            fate = "repeated"
        elif following is not None and self._process_of(following) == process:
            fate, end = "failed", int(following.began_ms) - self.began_at
        elif following is None and bar is not None:
            if life is None or bar.ended <= life.ended:
                return None
            fate = "kept"
        elif following is None and completed is not None:
            # The workflow was ended from outside while it ran.
            end = min(end, completed)
        elif life is not None and life.kind == "working":
            fate = "running"
        return Attempt(
            function_id=body.step_id,
            name=body.step,
            began=began,
            ended=max(began, end),
            fate=fate,
            process=process,
        )
