"""Who works on what: advisory locks, which PostgreSQL frees as soon as their process is gone.

An executor holds each run that it works on. Several may work on one run, and one of them leads it:
it starts the root workflow and removes what belonged to the run at its end. A process that serves
runs holds the name of its executor, too. No clock decides who lives.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import anyio

from aexp.database.connect import Connection, close, connect
from aexp.database.url import DatabaseUrl
from aexp.errors import ExecutorAlive, RunBusy

__all__ = [
    "has_others",
    "is_leased",
    "lease_exclusively",
    "lease_executor",
    "lease_holders",
    "lease_run",
    "living_executors",
    "session_name",
    "try_lead",
]

# The lock of a killed process is free within milliseconds, that of a host that was lost when the
# server's keepalives have found out, see aexp.database.connect; a longer wait means that it lives.
_LOCK_TIMEOUT_S = 3.0
# Its statements in flight may take longer, a COPY of many rows above all.
_SESSIONS_TIMEOUT_S = 60.0
_POLL_S = 0.01

# Locks of this database that are made of two numbers: what is held, and by which executor.
_LOCKS = (
    " FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def _number(kind: str, name: str) -> int:
    digest = hashlib.sha256(f"aexp {kind} {name}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _run(run_id: str) -> int:
    return _number("run", run_id)


def _executor(executor_id: str) -> int:
    return _number("executor", executor_id)


_LEAD = _number("lead", "")
_EXECUTORS = _number("executors", "")


def session_name(run_id: str, executor_id: str) -> str:
    """Return what PostgreSQL calls an executor's sessions that work on a run; at most 63 bytes."""
    digest = hashlib.sha256(f"{run_id} {executor_id}".encode()).hexdigest()[:16]
    return f"aexp {run_id[:40]} {digest}"


async def _try_lock(connection: Connection, what: int, who: int) -> bool:
    # PostgreSQL takes signed numbers and shows unsigned ones.
    locked: bool = await connection.fetchval(
        "SELECT pg_try_advisory_lock($1::bigint::bit(32)::int, $2::bigint::bit(32)::int)", what, who
    )
    return locked


async def try_lead(connection: Connection, run_id: str) -> bool:
    """Lead the run from now on for as long as ``connection`` lives, unless another one does."""
    return await _try_lock(connection, _run(run_id), _LEAD)


async def is_leased(connection: Connection, run_id: str, executor_id: str | None = None) -> bool:
    """Return whether a living process works on the run, of this executor or of any."""
    held: bool = await connection.fetchval(
        f"SELECT EXISTS (SELECT {_LOCKS} AND classid = $1 AND ($2::oid IS NULL OR objid = $2))",
        _run(run_id),
        _executor(executor_id) if executor_id is not None else None,
    )
    return held


async def has_others(connection: Connection, run_id: str, executor_id: str | None) -> bool:
    """Return whether executors other than ``executor_id`` work on the run; if that is None, any."""
    others: bool = await connection.fetchval(
        f"SELECT EXISTS (SELECT {_LOCKS} AND classid = $1 AND objid <> ALL($2::oid[]))",
        _run(run_id),
        [_LEAD, *([_executor(executor_id)] if executor_id is not None else [])],
    )
    return others


async def lease_holders(
    connection: Connection, run_id: str, executor_ids: Iterable[str]
) -> frozenset[str]:
    """Return those of ``executor_ids`` that work on the run now."""
    return await _living(connection, executor_ids, _run(run_id))


async def living_executors(connection: Connection, executor_ids: Iterable[str]) -> frozenset[str]:
    """Return those of ``executor_ids`` of which a process lives, whatever it works on."""
    return await _living(connection, executor_ids, None)


async def _living(
    connection: Connection, executor_ids: Iterable[str], what: int | None
) -> frozenset[str]:
    by_number = {_executor(executor_id): executor_id for executor_id in executor_ids}
    rows = await connection.fetch(
        f"SELECT objid::bigint {_LOCKS} AND objid = ANY($1::oid[])"
        " AND ($2::oid IS NULL OR classid = $2)",
        list(by_number),
        what,
    )
    return frozenset(by_number[row["objid"]] for row in rows)


@asynccontextmanager
async def lease_run(url: DatabaseUrl, run_id: str, executor_id: str) -> AsyncIterator[Connection]:
    """Hold the run for this executor, on a connection that lives as long as the context.

    Enters when no other process of the executor holds the run *and* the server has ended every
    session of the ones that did: a statement of a killed process may outlive it, and nothing that
    we read before that is final. Raises RunBusy when another process keeps the run.
    """
    connection = await connect(url, application_name="aexp lock")
    try:
        with anyio.move_on_after(_LOCK_TIMEOUT_S) as waiting:
            while not await _try_lock(connection, _run(run_id), _executor(executor_id)):
                await anyio.sleep(_POLL_S)
        if waiting.cancelled_caught:
            raise await _busy(connection, run_id, executor_id)
        with anyio.move_on_after(_SESSIONS_TIMEOUT_S) as waiting:
            while await _has_sessions(connection, session_name(run_id, executor_id)):
                await anyio.sleep(_POLL_S)
        if waiting.cancelled_caught:
            raise await _busy(connection, run_id, executor_id)
        yield connection
    finally:
        await close(connection)


async def _has_sessions(connection: Connection, name: str) -> bool:
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = $1)",
        name,
    )
    return found


@asynccontextmanager
async def lease_exclusively(url: DatabaseUrl, run_id: str) -> AsyncIterator[Connection]:
    """Hold a run on which nobody works, so that nobody leads it; raises RunBusy when somebody does.

    Who comes to hold it later waits for the lead, and then finds what was done.
    """
    connection = await connect(url, application_name="aexp lock")
    try:
        with anyio.move_on_after(_LOCK_TIMEOUT_S) as waiting:
            # The lead first: then each of two that come at once is seen by the other.
            while not await try_lead(connection, run_id) or await has_others(
                connection, run_id, None
            ):
                await anyio.sleep(_POLL_S)
        if waiting.cancelled_caught:
            raise await _busy(connection, run_id, None)
        yield connection
    finally:
        await close(connection)


@asynccontextmanager
async def lease_executor(url: DatabaseUrl, executor_id: str) -> AsyncIterator[Connection]:
    """Hold the name of an executor; raises ExecutorAlive when another process has it."""
    connection = await connect(url, application_name="aexp executor")
    try:
        with anyio.move_on_after(_LOCK_TIMEOUT_S) as waiting:
            while not await _try_lock(connection, _EXECUTORS, _executor(executor_id)):
                await anyio.sleep(_POLL_S)
        if waiting.cancelled_caught:
            raise ExecutorAlive(executor_id)
        yield connection
    finally:
        await close(connection)


async def _busy(connection: Connection, run_id: str, executor_id: str | None) -> RunBusy:
    row = await connection.fetchrow(
        "SELECT pid, executor_id FROM aexp.processes WHERE run_id = $1 AND ended IS NULL"
        " AND ($2::text IS NULL OR executor_id = $2) ORDER BY process_no DESC LIMIT 1",
        run_id,
        executor_id,
    )
    return RunBusy(run_id, row["pid"] if row else None, row["executor_id"] if row else None)
