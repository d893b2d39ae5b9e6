"""Ask for what workflows publish, events and streams, and for what they are sent."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from aexp.database.connect import Queryable
from aexp.engine.waiting import NO_TOPIC

__all__ = ["list_entries", "list_events", "list_sent"]


async def list_events(connection: Queryable, most_bytes: int) -> Sequence[asyncpg.Record]:
    """Return every event as it stands: ``workflow_id``, ``key`` and its value.

    ``value_digest`` tells stored texts apart; ``value`` is None when larger than ``most_bytes``.
    """
    return await connection.fetch(
        "SELECT workflow_uuid AS workflow_id, key, serialization, md5(value) AS value_digest,"
        " CASE WHEN octet_length(value) <= $1 THEN value END AS value"
        " FROM dbos.workflow_events ORDER BY workflow_uuid, key",
        most_bytes,
    )


async def list_entries(connection: Queryable, most_bytes: int) -> Sequence[asyncpg.Record]:
    """Return every entry of every stream in order, with the ``step_id`` that wrote it; values as in
    :func:`list_events`.
    """
    return await connection.fetch(
        "SELECT workflow_uuid AS workflow_id, key, function_id AS step_id, serialization,"
        " md5(value) AS value_digest,"
        " CASE WHEN octet_length(value) <= $1 THEN value END AS value"
        ' FROM dbos.streams ORDER BY workflow_uuid, key, "offset"',
        most_bytes,
    )


async def list_sent(connection: Queryable) -> Sequence[asyncpg.Record]:
    """Return ``workflow_id`` and ``topic`` of every message that a workflow was sent, received or
    not; without a topic that is None.
    """
    return await connection.fetch(
        "SELECT destination_uuid AS workflow_id, nullif(topic, $1) AS topic"
        " FROM dbos.notifications ORDER BY created_at_epoch_ms, message_uuid",
        NO_TOPIC,
    )
