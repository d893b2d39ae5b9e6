"""A workflow that tells when each of its steps begins, to be killed and recovered by ``resume``.

The sync form is ``python -m aexp.bench.workloads.recovery STEPS``, with the settings that DBOS has
by itself; the async one ``aexp run aexp.bench.workloads.recovery:recover``.
"""

from __future__ import annotations

import json
import os
import sys
import time

import psycopg
from dbos import DBOS, SetWorkflowID

from aexp.durable.ledger import record_event
from aexp.engine.runtime import current_runtime
from aexp.settings import load_settings

__all__ = ["EVENT", "PAUSE_S", "RUN_ID", "recover"]

RUN_ID = "bench"
EVENT = "bench.step_began"
PAUSE_S = 0.02


@DBOS.step(name="bench.recover_step")
async def _step(number: int) -> int:
    at = time.monotonic()
    await record_event(current_runtime(), RUN_ID, EVENT, {"step": number, "at": at})
    return number


@DBOS.workflow(name="bench.recover")
async def recover(steps: int) -> int:
    """Do so many steps, one after the other."""
    for number in range(steps):
        await _step(number)
        await DBOS.sleep_async(PAUSE_S)
    return steps


@DBOS.step(name="bench.sync.recover_step")
def _step_sync(number: int) -> int:
    data = json.dumps({"step": number, "at": time.monotonic()})
    with psycopg.connect(_url()) as connection:
        connection.execute(
            "INSERT INTO aexp.events (run_id, event, workflow_id, pid, data)"
            " VALUES (%s, %s, %s, %s, %s)",
            (RUN_ID, EVENT, DBOS.workflow_id, os.getpid(), data),
        )
    return number


@DBOS.workflow(name="bench.sync.recover")
def _recover_sync(steps: int) -> int:
    for number in range(steps):
        _step_sync(number)
        DBOS.sleep(PAUSE_S)
    return steps


def _url() -> str:
    url = load_settings({}).database_url
    assert url is not None
    return url.get_secret_value()


def main() -> None:
    """Start the workflow, or recover it, and wait for its end."""
    DBOS(
        config={
            "name": "bench",
            "system_database_url": _url(),
            "application_version": "bench",
            "log_level": "WARNING",
            "run_migrations": False,
        }
    )
    DBOS.launch()
    with SetWorkflowID(RUN_ID):
        handle = DBOS.start_workflow(_recover_sync, int(sys.argv[1]))
    handle.get_result()
    DBOS.destroy()


if __name__ == "__main__":
    main()
