"""What befell the runs of a service, written down in order and told to whoever listens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import anyio
import asyncpg
import structlog

from aexp.database.retry import is_connection_error, retry_on_disconnect

__all__ = ["Journal", "RunEvent"]

# Of one page of events.
MOST_EVENTS = 500

# Whether a run is hosted and no end of it is written down since it was begun or gone on with.
_LACKS_END = """
    SELECT runs.hosted AND NOT EXISTS (
        SELECT FROM aexp.run_events AS ends WHERE ends.run_id = $1 AND ends.event = 'run.ended'
        AND NOT EXISTS (SELECT FROM aexp.run_events AS later WHERE later.run_id = $1
            AND later.event = 'run.resumed' AND later.seq > ends.seq))
    FROM aexp.runs WHERE runs.run_id = $1
"""

_WRITE_END = f"""
    INSERT INTO aexp.run_events (run_id, seq, event, data)
    SELECT $1, max(seq) + 1, 'run.ended', $2 FROM aexp.run_events
    WHERE run_id = $1 HAVING ({_LACKS_END}) ON CONFLICT DO NOTHING
"""  # noqa: S608 - our own words

log = structlog.stdlib.get_logger("aexp.runs.host")


@dataclass(frozen=True, slots=True)
class RunEvent:
    """Something that befell a run. ``seq`` counts from 1, without a gap.

    ``event`` is one of ``run.requested``, ``run.began``, ``run.progressed``,
    ``run.process_killed``, ``run.ended``, ``run.failed`` (a worker failed on its own),
    ``run.interrupted`` (the service stops or the run was taken from its process),
    ``run.cancelled`` and ``run.resumed``; ``data`` are JSON values.
    """

    run_id: str
    seq: int
    event: str
    data: Mapping[str, Any]
    happened_at: datetime


class Journal:
    """The events of runs in ``aexp.run_events``."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool
        self._news: WeakValueDictionary[str, anyio.Event] = WeakValueDictionary()

    def news(self, run_id: str) -> anyio.Event:
        """Set when the next event of the run is written down or nobody works on it any more.

        Ask for it *before* looking at what there is, then nothing is missed.
        """
        return self._news.setdefault(run_id, anyio.Event())

    def tell(self, run_id: str) -> None:
        """Tell everybody who asked for news of the run to look."""
        news = self._news.pop(run_id, None)
        if news is not None:
            news.set()

    async def read(self, run_id: str, after: int) -> Sequence[RunEvent]:
        """Read what befell the run after the event numbered ``after``, at most 500, in order."""
        rows = await self._pool.fetch(
            "SELECT run_id, seq, event, data, happened_at FROM aexp.run_events"
            " WHERE run_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
            run_id,
            after,
            MOST_EVENTS,
        )
        return [RunEvent(**dict(row)) for row in rows]

    async def kills(self, run_id: str) -> Mapping[str, int] | None:
        """Return the kills that were asked for and those that have landed; None when none were."""
        row = await self._pool.fetchrow(
            "SELECT (data->>'kills')::int AS asked, (data->>'seed')::bigint AS seed,"
            # By number: an event whose first commit was in doubt may be there twice.
            " (SELECT count(DISTINCT data->>'kills') FROM aexp.run_events WHERE run_id = $1"
            "  AND event = 'run.process_killed') AS landed"
            " FROM aexp.run_events WHERE run_id = $1 AND event = 'run.requested'",
            run_id,
        )
        if row is None or not row["asked"]:
            return None
        return {"asked": row["asked"], "landed": row["landed"], "seed": row["seed"]}

    async def was_requested(self, run_id: str) -> bool:
        """Return whether a service was asked for the run, which was not begun elsewhere."""
        found: bool = await self._pool.fetchval(
            "SELECT EXISTS (SELECT FROM aexp.run_events WHERE run_id = $1 AND seq = 1"
            " AND event = 'run.requested')",
            run_id,
        )
        return found

    async def queues(self, run_id: str) -> Mapping[str, str]:
        """Return each workflow's queue, by its name, that the run's last cancellation emptied."""
        found = await self._pool.fetchval(
            "SELECT data->'queues' FROM aexp.run_events WHERE run_id = $1"
            " AND event = 'run.cancelled' ORDER BY seq DESC LIMIT 1",
            run_id,
        )
        return found or {}

    async def write(self, run_id: str, event: str, data: Mapping[str, Any]) -> None:
        """Write an event down. One that the database does not take for too long is lost."""
        await self._write(run_id, event, partial(self._insert, run_id, event, data))

    async def write_end(self, run_id: str, data: Mapping[str, Any]) -> None:
        """Write down that the run has ended, once, however many executors saw it.

        A run that was cancelled on demand has its event already, or is about to.
        """
        await self._write(run_id, "run.ended", partial(self._insert_end, run_id, data))

    async def _write(
        self,
        run_id: str,
        event: str,
        insert: Callable[[], Awaitable[None]],
    ) -> None:
        try:
            await retry_on_disconnect(insert)
        except asyncpg.ForeignKeyViolationError:
            # The run has been deleted in the meantime.
            log.warning("host.event_lost", run_id=run_id, lost=event, error="there is no run")
        except Exception as error:
            if not is_connection_error(error):
                raise
            log.warning("host.event_lost", run_id=run_id, lost=event, error=str(error))
        finally:
            self.tell(run_id)

    async def _insert(self, run_id: str, event: str, data: Mapping[str, Any]) -> None:
        # Whoever takes the number in between makes us take the next one.
        number = None
        while number is None:
            number = await self._pool.fetchval(
                "INSERT INTO aexp.run_events (run_id, seq, event, data)"
                " SELECT $1, coalesce(max(seq), 0) + 1, $2, $3 FROM aexp.run_events"
                " WHERE run_id = $1 ON CONFLICT DO NOTHING RETURNING seq",
                run_id,
                event,
                data,
            )

    async def _insert_end(self, run_id: str, data: Mapping[str, Any]) -> None:
        while await self._pool.fetchval(_LACKS_END, run_id):
            await self._pool.execute(_WRITE_END, run_id, data)
