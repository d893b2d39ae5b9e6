"""A workflow that loses a checkpoint which was durable, and its process with it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psycopg
from dbos import DBOS

LOSE_FIRST = b"DELETE FROM dbos.operation_outputs WHERE workflow_uuid = %s AND function_id = 1"


@DBOS.step()
def insert(item: int) -> int:
    return item


@DBOS.step()
def meddle() -> None:
    """Lose the first checkpoint, once."""
    if Path("lost").exists():
        return
    Path("lost").touch()
    with psycopg.connect(os.environ["DBOS_SYSTEM_DATABASE_URL"]) as connection:
        connection.execute(LOSE_FIRST, [DBOS.workflow_id])
    os.kill(os.getpid(), signal.SIGKILL)


@DBOS.workflow()
def lose() -> list[int]:
    inserted = [insert(item) for item in range(2)]
    meddle()
    return inserted
