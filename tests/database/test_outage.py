"""A database that goes away for good while a run is under way: its process ends, and says so."""

from __future__ import annotations

import time

import pytest

from aexp.database.retry import PATIENCE_S
from tests.support.cli import Cli
from tests.support.tcp_forward import forwarded

# One is always about to record a step, for which DBOS waits in a thread. The other is in the midst
# of a transaction: rolling it back fails, and hides that the workflow is cancelled.
FLOWS = """
import anyio
from aexp import current_runtime, exactly_once
from dbos import DBOS
@DBOS.step()
async def count(n: int) -> int:
    return n
@DBOS.workflow()
async def recording() -> int:
    return sum([await count(n) for n in range(1_000_000)])
async def wait(transaction) -> None:
    await transaction.connection()
    await anyio.sleep_forever()
@DBOS.workflow()
async def committing() -> None:
    await count(0)
    await exactly_once(current_runtime(), "wait", wait)
"""
COUNTED = "SELECT 1 FROM dbos.operation_outputs"
IN_TRANSACTION = (
    f"{COUNTED}, pg_stat_activity WHERE datname = current_database()"
    " AND state = 'idle in transaction' AND query LIKE 'SELECT 1%%'"
)


@pytest.mark.parametrize(
    ("workflow", "begun"),
    [
        ("recording", COUNTED),
        ("committing", IN_TRANSACTION),
    ],
    ids=["recording", "committing"],
)
def test_a_process_ends_although_workflows_wait_for_its_database(
    cli: Cli, workflow: str, begun: str
) -> None:
    assert cli.url is not None
    (cli.folder / "flows.py").write_text(FLOWS)
    with forwarded(cli.url) as forward:
        url = forward.url.libpq
        process = cli.start("run", f"flows.py:{workflow}", "--run-id", "x", "--database-url", url)
        cli.await_row(begun)
        forward.cut()
        cut_at = time.monotonic()
        ended = cli.wait(process)
    assert ended.code == 3, ended.stderr
    assert "`aexp resume x` goes on" in ended.stderr.splitlines()[-1]
    assert time.monotonic() - cut_at < PATIENCE_S
