"""How a batch of messages reaches ``aexp.publications``, and how often it can.

Each mode is one durable step. They differ in what a kill between the effect and its checkpoint
leaves behind: nothing, a row that refuses its double, or a row that will be written again.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, repeat
from typing import Any, Protocol

import anyio
from dbos import DBOS

from aexp import ledger
from aexp.database.connect import patiently
from aexp.messages import Message
from aexp.runtime import Runtime
from aexp.transaction import MAX_ATTEMPTS, RETRY_INTERVAL_S, Transaction, exactly_once

__all__ = ["Batch", "Delivery", "DeliveryMode", "PublishRefused", "deliver"]

STEP = "publish"

_COLUMNS = ("run_id", "position", "channel", "body", "pid")


class DeliveryMode(StrEnum):
    """What is promised of each message, whatever is killed when."""

    EXACTLY_ONCE = "exactly-once"
    IDEMPOTENT = "idempotent"
    AT_LEAST_ONCE = "at-least-once"


class PublishRefused(Exception):
    """The broker refused a batch; publishing it again may succeed."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages to publish together, each with its channel.

    ``load`` reads them when the step's body runs and not before: a step that is replayed from its
    checkpoint needs no message. ``latency_s`` is what the broker takes for the batch, and
    ``refuse`` is told the number of the attempt, before it has any effect, and may raise
    PublishRefused in the broker's place.
    """

    run_id: str
    load: Callable[[], Awaitable[Sequence[tuple[str, Message]]]]
    latency_s: float
    refuse: Callable[[int], None]


# Told how many rows of each channel this process wrote; not called when a checkpoint is replayed.
Published = Callable[[Mapping[str, int]], None]


class Delivery(Protocol):
    """Publish ``batch`` as one durable step of the calling workflow; rows written by it."""

    async def __call__(self, runtime: Runtime, batch: Batch, published: Published) -> int: ...


def deliver(mode: DeliveryMode) -> Delivery:
    """The delivery of this mode."""
    return _MODES[mode]


def _by_channel(messages: Sequence[tuple[str, Message]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for channel, _ in messages:
        counts[channel] = counts.get(channel, 0) + 1
    return counts


def _records(run_id: str, messages: Sequence[tuple[str, Message]]) -> list[tuple[Any, ...]]:
    pid = os.getpid()
    return [(run_id, message.position, channel, message.body, pid) for channel, message in messages]


async def _exactly_once(runtime: Runtime, batch: Batch, published: Published) -> int:
    """Rows and the step's record in one commit, by COPY.

    The broker's latency passes before the transaction, which would else hold a connection for it;
    a chunk that is recovered after its step's checkpoint waits for it once more.
    """
    written: dict[str, int] = {}

    async def copy(transaction: Transaction) -> int:
        await ledger.enter(runtime, batch.run_id, STEP)
        batch.refuse(transaction.attempt)
        messages = await batch.load()
        connection = await transaction.connection()
        await connection.copy_records_to_table(
            "publications",
            schema_name="aexp",
            columns=_COLUMNS,
            records=_records(batch.run_id, messages),
        )
        written.clear()
        written.update(_by_channel(messages))
        return len(messages)

    if batch.latency_s:
        await anyio.sleep(batch.latency_s)
    rows = await exactly_once(runtime, STEP, copy, retry_on=PublishRefused)
    if written:
        published(written)
    return rows


def _plain(statement: str, again: str | None = None) -> Delivery:
    """A plain step that inserts and then waits for the broker: its window is the latency.

    ``again`` is sent in place of ``statement`` when its connection was lost: the rows may stand
    there already, and are this process's own all the same.
    """

    async def publish(runtime: Runtime, batch: Batch, published: Published) -> int:
        async def insert() -> int:
            await ledger.enter(runtime, batch.run_id, STEP)
            status = DBOS.step_status
            batch.refuse(1 + (status.current_attempt or 0 if status is not None else 0))
            messages = await batch.load()
            values = (
                batch.run_id,
                [message.position for _, message in messages],
                [channel for channel, _ in messages],
                [message.body for _, message in messages],
                os.getpid(),
            )
            statements = chain([statement], repeat(again or statement))
            # Sent again after a lost connection, as after a lost process: each mode allows it.
            rows = await patiently(lambda: runtime.database.pool.fetch(next(statements), *values))
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
