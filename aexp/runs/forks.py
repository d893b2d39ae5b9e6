"""Forks: runs that begin with the checkpoints of another run and go their own way from a step on.

DBOS copies the checkpoints of the root workflow, and nothing else. What they name, the children
that were enqueued above all, stays the other run's; so what a scenario's own evidence would show
of such a run is not what it did, see :attr:`aexp.model.run.Run.inherits`.
"""

from __future__ import annotations

import contextlib

from dbos import SetWorkflowID
from dbos import error as dbos_error
from sqlalchemy.exc import IntegrityError

from aexp.database.connect import Connection
from aexp.engine.runtime import ROOT_QUEUE, Runtime
from aexp.engine.tables.workflows import status_of
from aexp.errors import OriginGone
from aexp.model.run import Run

__all__ = ["fork_root"]


async def fork_root(runtime: Runtime, connection: Connection, run: Run) -> None:
    """Make the root workflow of a run that is a fork, unless it is there already.

    The run is recorded before, so that whichever process works on it first makes the fork, and a
    kill at any moment leaves either none or the whole of it. Raises OriginGone.
    """
    if run.forked_from is None or run.fork_step is None:
        return
    if await status_of(connection, run.run_id) is not None:
        return
    # Another process may make it in this moment.
    with contextlib.suppress(IntegrityError), SetWorkflowID(run.run_id):
        try:
            await runtime.client.fork_workflow_async(
                run.forked_from,
                run.fork_step,
                application_version=run.application_version,
                queue_name=runtime.queue_name(ROOT_QUEUE),
            )
        except dbos_error.DBOSNonExistentWorkflowError as error:
            raise OriginGone(run.run_id, run.forked_from) from error
