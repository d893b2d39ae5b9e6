"""A database that goes away for good while a run is under way: its process ends, and says so."""

from __future__ import annotations

from tests.support.cli import Cli
from tests.support.tcp_forward import forwarded

# Its one task is always about to record a step.
BUSY = """
from dbos import DBOS
@DBOS.step()
async def count(n: int) -> int:
    return n
@DBOS.workflow()
async def busy() -> int:
    return sum([await count(n) for n in range(1_000_000)])
"""


def test_a_process_ends_although_dbos_waits_for_its_database(cli: Cli) -> None:
    assert cli.url is not None
    (cli.folder / "busy.py").write_text(BUSY)
    with forwarded(cli.url) as forward:
        url = forward.url.libpq
        process = cli.start("run", "busy.py:busy", "--run-id", "x", "--database-url", url)
        cli.await_row("SELECT 1 FROM dbos.operation_outputs OFFSET 5 LIMIT 1")
        forward.cut()
        ended = cli.wait(process)
    assert ended.code == 3, ended.stderr
    assert "`aexp resume x` goes on" in ended.stderr.splitlines()[-1]
