"""The workloads that show how cost grows."""

from __future__ import annotations

import psycopg
import pytest

from aexp.bench.workload import Counted
from aexp.bench.workloads import growth
from aexp.bench.workloads.lookup import find_workload, growth_workloads
from aexp.database import DatabaseUrl
from aexp.processes.loop import run_on_loop
from aexp.settings import load_settings
from tests.bench.test_workloads import MESSAGE_LOST, TinyCell

pytestmark = pytest.mark.nightly


SIZE = {
    "messages": 40,
    "chunk": 1,
    "concurrency": 1,
    "workers": 2,
    "published": 50,
    "workflows": 30,
}


def publish(database: DatabaseUrl, *, spoil: str | None = None) -> Counted:
    settings = load_settings({"database_url": database.libpq})
    cell = TinyCell(database, settings, SIZE, spoil=spoil)
    return run_on_loop("uvloop", lambda: growth.publish(cell))


def test_two_processes_share_the_work_on_tables_that_are_not_empty(database: DatabaseUrl) -> None:
    counted = publish(database)

    assert (counted.units, list(counted.anomalies)) == (40, [])
    assert counted.figures["wal_bytes"] > 100
    assert counted.figures["xids"] > 1
    assert counted.figures["connections"] > 2
    with psycopg.connect(database.libpq) as connection:
        earlier = connection.execute(
            "SELECT count(*) FROM aexp.publications WHERE run_id = 'earlier'"
        ).fetchone()
        ended = connection.execute(
            "SELECT count(*) FROM dbos.workflow_status WHERE workflow_uuid LIKE 'earlier-%'"
        ).fetchone()
        executors = connection.execute(
            "SELECT DISTINCT executor_id FROM dbos.workflow_status WHERE queue_name IS NOT NULL"
        ).fetchall()
    assert (earlier, ended) == ((50,), (30,))
    assert {name for (name,) in executors} == {"local", "w1"}


def test_a_message_that_is_lost_is_found(database: DatabaseUrl) -> None:
    counted = publish(database, spoil=MESSAGE_LOST)
    assert list(counted.anomalies) == ["message 7 was published 0 times"]


@pytest.mark.parametrize("name", growth_workloads())
def test_every_size_has_what_a_cell_is_told(name: str) -> None:
    _, workload = find_workload(name)
    assert workload.name == name
    assert workload.curve is not None
    for variant in workload.variants:
        assert variant.point is not None
        for quick in {False, variant.in_quick}:
            assert set(workload.sized(variant, quick=quick)) == set(SIZE)
