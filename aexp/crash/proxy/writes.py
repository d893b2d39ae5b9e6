"""What a durable write is called, so that the same one is found again in another run.

A write is named by what it does, `insert dbos.operation_outputs`, and told from its like by the
workflow and the step that its parameters name, never by its place in the run: however the work of
several workflows is mixed, `insert dbos.operation_outputs [~.2.0:1]#1` is the first checkpoint of
step 1 of that workflow. Ids that differ from run to run are made alike: the run id is `~`, a UUID
or a time is `*`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aexp.crash.proxy.frames import Value
from aexp.crash.proxy.statements import Action, Slot, Statement
from aexp.engine.tables.names import WORKFLOW_STATUS

__all__ = ["Effect", "Ordinals", "Write", "effects_of"]

_LONGEST_NAME = 6
_ENQUEUED = f"insert {WORKFLOW_STATUS} ENQUEUED"
_ANY_RUN = re.compile(
    r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"
)
# What DBOS and aexp note about processes, versions, queues and tables. None of it is a workflow's.
_BOOKKEEPING = frozenset(
    {
        "aexp.alembic_version", "aexp.components", "aexp.processes", "aexp.run_events", "aexp.runs",
        "aexp.step_bodies", "dbos.application_versions", "dbos.dbos_datasource_migrations",
        "dbos.dbos_migrations", "dbos.queues",
    }
)  # fmt: skip
_DATA_VERBS = frozenset({"copy", "delete", "insert", "merge", "select", "update", "write"})
_OUR_SCHEMAS = frozenset({"aexp", "dbos"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What one statement writes, with its parameters in place.

    Of several workflows in one statement it names the one whose id sorts first.
    """

    name: str
    table: str = ""
    workflow_id: str | None = None
    step_id: int | None = None
    bookkeeping: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One durable write: a COMMIT of a transaction that wrote, or a writing statement outside one.

    ``name`` says what it writes, those of several statements joined in order without repeats.
    ``key`` is the name with the workflow (relative to the run) and step, where parameters tell
    them: the same in every run. ``ordinal`` counts, from 1, the durable writes of this key.
    ``workflow_id`` is as in the database. ``bookkeeping``: it has nothing to do with a workflow.
    ``tables`` are all to which it writes rows, as the statements name them; the name has a few.
    """

    name: str
    key: str
    ordinal: int
    workflow_id: str | None
    step_id: int | None
    bookkeeping: bool
    tables: frozenset[str] = frozenset()

    @property
    def point(self) -> str:
        """What a person calls this write, and finds it again by."""
        return f"{self.key}#{self.ordinal}"


def effects_of(statement: Statement, values: Sequence[Value]) -> tuple[Effect, ...]:
    """Return what ``statement`` writes when it is run with these parameters."""
    return tuple(_effect(action, values) for action in statement.actions)


def _effect(action: Action, values: Sequence[Value]) -> Effect:
    ids = [found for slot in action.workflows if (found := _text(slot, values)) is not None]
    state = None if action.state is None else _text(action.state, values)
    return Effect(
        name=" ".join(filter(None, (action.verb, action.table, state))),
        # What shapes a table leaves its rows as they are.
        table=action.table if action.verb in _DATA_VERBS else "",
        workflow_id=min(ids, default=None),
        step_id=None if action.step is None else _number(action.step, values),
        bookkeeping=_is_bookkeeping(action),
    )


def _is_bookkeeping(action: Action) -> bool:
    if action.verb in _DATA_VERBS:
        return action.table in _BOOKKEEPING
    # The shape of our tables; what a user's own code makes is the user's.
    schema, dot, _ = action.table.partition(".")
    return schema in _OUR_SCHEMAS and (bool(dot) or action.verb.endswith("schema"))


def _sent(slot: Slot, values: Sequence[Value]) -> Value | None:
    if isinstance(slot, str):
        return Value(slot.encode(), binary=False)
    return values[slot - 1] if slot <= len(values) else None


def _text(slot: Slot, values: Sequence[Value]) -> str | None:
    value = _sent(slot, values)
    if value is None or value.data is None:
        return None
    # Text is the same bytes in both formats; what is not text in binary is no id of a workflow.
    try:
        return value.data.decode()
    except UnicodeDecodeError:
        return None


def _number(slot: Slot, values: Sequence[Value]) -> int | None:
    value = _sent(slot, values)
    if value is None or value.data is None:
        return None
    if value.binary:
        return int.from_bytes(value.data, signed=True)
    text = value.data.decode(errors="replace")
    return int(text) if text.isdecimal() else None


class Ordinals:
    """Names writes and counts them, by key, over all connections of a proxy.

    A number is taken when a write is announced and given back when it turns out that nothing
    became durable.
    """

    def __init__(self, run_id: str | None) -> None:
        self._run_id = run_id
        self._run = None if run_id is None else re.compile(rf"(?<!\w){re.escape(run_id)}(?!\w)")
        self._taken: Counter[str] = Counter()

    def announce(self, effects: Sequence[Effect]) -> Write:
        """Name the write that makes ``effects``, of which there is at least one, durable."""
        name = _joined(effect.name for effect in effects)
        told = [effect for effect in effects if effect.workflow_id is not None]
        # The workflow and the step of one statement: what its parent records of a child, say.
        of_step = (effect for effect in told if effect.step_id is not None)
        whose = next(of_step, told[0] if told else effects[0])
        key = name + self._whose(whose)
        self._taken[key] += 1
        return Write(
            name=name,
            key=key,
            ordinal=self._taken[key],
            workflow_id=whose.workflow_id,
            step_id=whose.step_id,
            # That aexp enqueues the root is its own doing.
            bookkeeping=all(effect.bookkeeping for effect in effects)
            or (name.startswith(_ENQUEUED) and whose.workflow_id == self._run_id),
            tables=frozenset(effect.table for effect in effects if effect.table),
        )

    def take_back(self, write: Write) -> None:
        """Take it back that ``write`` was announced: nothing of it has become durable."""
        if self._taken[write.key]:
            self._taken[write.key] -= 1

    def _whose(self, effect: Effect) -> str:
        if (known := effect.workflow_id) is None:
            return ""
        if self._run is not None:
            known = self._run.sub("~", known)
        step = "" if effect.step_id is None else f":{effect.step_id}"
        return f" [{_ANY_RUN.sub('*', known)}{step}]"


def _joined(names: Iterable[str]) -> str:
    distinct = list(dict.fromkeys(names))
    more = ["…"] if len(distinct) > _LONGEST_NAME else []
    return " + ".join(distinct[:_LONGEST_NAME] + more)
