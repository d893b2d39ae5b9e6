"""Make of the records of a process the bodies of steps that ran in it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from aexp.engine.recorder.records import Record, StepBegan, StepEnded, StepRecorded

__all__ = ["StepBody", "step_bodies"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBody:
    """A body that began; times are in seconds since the epoch.

    ``ended`` is None when the process was killed in it. ``recorded`` is when the step's checkpoint
    was known to be durable: None when that was not seen, or belongs to a later attempt.
    """

    workflow_id: str
    step_id: int
    name: str
    attempt: int
    transactional: bool
    arguments: str
    site: str | None
    began: float
    ended: float | None = None
    error: str | None = None
    recorded: float | None = None


def step_bodies(records: Iterable[Record]) -> Iterator[StepBody]:
    """Yield each body once nothing more will be noted of it."""
    open_bodies: dict[tuple[str, int], StepBody] = {}
    for record in records:
        if record.step_id is None:
            continue
        step = (record.workflow_id, record.step_id)
        if isinstance(record, StepBegan):
            if step in open_bodies:
                yield open_bodies[step]
            open_bodies[step] = _begun(record, record.step_id)
        elif isinstance(record, StepEnded) and step in open_bodies:
            open_bodies[step] = replace(open_bodies[step], ended=record.epoch, error=record.error)
        elif isinstance(record, StepRecorded) and step in open_bodies:
            yield replace(open_bodies.pop(step), recorded=record.epoch)
    yield from open_bodies.values()


def _begun(record: StepBegan, step_id: int) -> StepBody:
    return StepBody(
        workflow_id=record.workflow_id,
        step_id=step_id,
        name=record.name,
        attempt=record.attempt,
        transactional=record.transactional,
        arguments=record.arguments,
        site=record.site,
        began=record.epoch,
    )
