"""How a batch of messages reaches ``aexp.publications``, and how often it can.

Each mode is one durable step. They differ in what a kill between the effect and its checkpoint
leaves behind: nothing, a row that refuses its double, or a row that will be written again.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, count, cycle, islice, repeat
from typing import Protocol

import anyio
import anyio.to_thread
from dbos import DBOS

from aexp.database.retry import retry_on_disconnect
from aexp.durable import ledger
from aexp.durable.exactly_once import MAX_ATTEMPTS, RETRY_INTERVAL_S, Transaction, exactly_once
from aexp.engine.runtime import Runtime

__all__ = ["COLUMNS", "Batch", "Delivery", "DeliveryMode", "PublishRefused", "copy_text", "deliver"]

STEP = "publish"

# The rows of so many are made in less time than it takes to hand them to a thread.
_FEW_MESSAGES = 100

COLUMNS = ("run_id", "position", "channel", "body", "pid")


class DeliveryMode(StrEnum):
    """What is promised of each message, whatever is killed when."""

    EXACTLY_ONCE = "exactly-once"
    IDEMPOTENT = "idempotent"
    AT_LEAST_ONCE = "at-least-once"


class PublishRefused(Exception):
    """The broker refused a batch; publishing it again may succeed."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages to publish together: the first has position ``first``, the others follow it.

    They take the ``channels`` in turns: position p has ``channels[p % len(channels)]``. ``load``
    reads their texts, JSON on one line each, when the step's body runs and not before: a step that
    is replayed from its checkpoint needs no message. ``latency_s`` is what the broker takes for
    the batch, and ``refuse`` is told the number of the attempt, before it has any effect, and may
    raise PublishRefused in the broker's place.
    """

    run_id: str
    first: int
    channels: Sequence[str]
    load: Callable[[], Awaitable[Sequence[str]]]
    latency_s: float
    refuse: Callable[[int], None]


# Told how many rows of each channel this process wrote; not called when a checkpoint is replayed.
Published = Callable[[Mapping[str, int]], None]


class Delivery(Protocol):
    """Publish ``batch`` as one durable step of the calling workflow; rows written by it."""

    async def __call__(self, runtime: Runtime, batch: Batch, published: Published) -> int: ...


def deliver(mode: DeliveryMode) -> Delivery:
    """Return the delivery of this mode."""
    return _MODES[mode]


def _in_turns(channels: Sequence[str], first: int, messages: int) -> Iterator[str]:
    """Yield the channel of each message in order, from position ``first`` on."""
    turn = first % len(channels)
    return islice(cycle(channels), turn, turn + messages)


def _by_channel(batch: Batch, messages: int) -> dict[str, int]:
    turns, more = divmod(messages, len(batch.channels))
    counts = dict.fromkeys(batch.channels, turns) if turns else {}
    for channel in _in_turns(batch.channels, batch.first, more):
        counts[channel] = turns + 1
    return counts


def _escaped(text: str) -> str:
    """Return ``text`` without newlines as COPY reads it."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\r", "\\r")


def copy_text(batch: Batch, bodies: Sequence[str]) -> bytes:
    """Encode the rows of ``batch``, COLUMNS of aexp.publications, in COPY's text format.

    A fifth of the work that a tuple for each row is, which asyncpg would then encode.
    """
    # All at once, and back into lines only if there was anything to escape.
    text = "\n".join(bodies)
    escaped = _escaped(text)
    if escaped != text:
        bodies = escaped.split("\n")
    before, after = _escaped(batch.run_id), f"{os.getpid()}\n"
    channels = [_escaped(channel) for channel in batch.channels]
    numbered = zip(count(batch.first), _in_turns(channels, batch.first, len(bodies)), bodies)
    rows = [
        f"{before}\t{position}\t{channel}\t{body}\t{after}" for position, channel, body in numbered
    ]
    return "".join(rows).encode()


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    # As bytes it would be taken for a path, as a file it would be read in the executor's threads,
    # of which DBOS has but a few.
    yield data


async def _exactly_once(runtime: Runtime, batch: Batch, published: Published) -> int:
    """Commit rows and the step's record together, by COPY.

    The broker's latency passes before the transaction, which would else hold a connection for it;
    a chunk that is recovered after its step's checkpoint waits for it once more.
    """
    written: dict[str, int] = {}

    async def copy(transaction: Transaction) -> int:
        await ledger.record_body(runtime, batch.run_id, STEP)
        batch.refuse(transaction.attempt)
        async with runtime.making_rows:
            bodies = await batch.load()
            if len(bodies) <= _FEW_MESSAGES:
                rows = copy_text(batch, bodies)
            else:
                rows = await anyio.to_thread.run_sync(copy_text, batch, bodies)
        connection = await transaction.connection()
        await connection.copy_to_table(
            "publications", schema_name="aexp", columns=COLUMNS, source=_whole(rows)
        )
        written.clear()
        written.update(_by_channel(batch, len(bodies)))
        return len(bodies)

    if batch.latency_s:
        await anyio.sleep(batch.latency_s)
    rows = await exactly_once(runtime, STEP, copy, retry_on=PublishRefused)
    if written:
        published(written)
    return rows


def _plain(statement: str, again: str | None = None) -> Delivery:
    """Make a plain step that inserts and then waits for the broker: its window is the latency.

    ``again`` is sent in place of ``statement`` when its connection was lost: the rows may stand
    there already, and are this process's own all the same.
    """

    async def publish(runtime: Runtime, batch: Batch, published: Published) -> int:
        async def insert() -> int:
            await ledger.record_body(runtime, batch.run_id, STEP)
            status = DBOS.step_status
            batch.refuse(1 + (status.current_attempt or 0 if status is not None else 0))
            bodies = await batch.load()
            values = (
                batch.run_id,
                range(batch.first, batch.first + len(bodies)),
                list(_in_turns(batch.channels, batch.first, len(bodies))),
                bodies,
                os.getpid(),
            )
            statements = chain([statement], repeat(again or statement))
            # Sent again after a lost connection, as after a lost process: each mode allows it.
            rows = await retry_on_disconnect(
                lambda: runtime.database.pool.fetch(next(statements), *values)
            )
            counts: dict[str, int] = {}
            for row in rows:
                counts[row["channel"]] = counts.get(row["channel"], 0) + 1
            published(counts)
            if batch.latency_s:
                await anyio.sleep(batch.latency_s)
            return len(rows)

        return await DBOS.run_step_async(
            {
                "name": STEP,
                "retries_allowed": True,
                "max_attempts": MAX_ATTEMPTS,
                "interval_seconds": RETRY_INTERVAL_S,
            },
            insert,
        )

    return publish


_INSERT = """
    INSERT INTO aexp.publications (run_id, position, channel, body, pid{column})
    SELECT $1, position, channel, body::json, $5{value}
    FROM unnest($2::bigint[], $3::text[], $4::text[]) AS given (position, channel, body)
    {on_conflict} RETURNING channel
"""


def _idempotent(on_conflict: str) -> str:
    return _INSERT.format(
        column=", idempotency_key",
        value=", $1 || ':' || position",
        on_conflict="ON CONFLICT (idempotency_key) WHERE idempotency_key IS NOT NULL"
        f" {on_conflict}",
    )


_MODES: Mapping[DeliveryMode, Delivery] = {
    DeliveryMode.EXACTLY_ONCE: _exactly_once,
    DeliveryMode.IDEMPOTENT: _plain(
        _idempotent("DO NOTHING"),
        _idempotent("DO UPDATE SET pid = excluded.pid WHERE publications.pid = excluded.pid"),
    ),
    DeliveryMode.AT_LEAST_ONCE: _plain(_INSERT.format(column="", value="", on_conflict="")),
}
