"""Each variant of each workload does its work, and a cell that lost or doubled any is no result."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg
import pytest

from aexp.bench.workload import Counted, Variant
from aexp.bench.workloads import fibonacci
from aexp.bench.workloads.lookup import find_workload, known_workloads
from aexp.database import DatabaseUrl
from aexp.processes.loop import run_on_loop
from aexp.settings import Settings, load_settings
from tests.conftest import TEMPLATE, scratch

# What makes a workload tiny, and how many units that is.
TINY: Mapping[str, tuple[Mapping[str, Any], int]] = {
    "publish": ({"messages": 12}, 12),
    "publish-latency": ({"messages": 12, "latency_s": 0.01}, 12),
    "bulk": ({"messages": 1200, "chunk": 500}, 1200),
    "steps": ({"steps": 8}, 8),
    "fibonacci": ({"numbers": 5, "number": 12}, 5),
    "sleepers": ({"sleepers": 5}, 5),
    "resume": ({"steps": 6}, 1),
    "overhead": ({"children": 3}, 3),
}
# How long sleepers sleep: those that come too late for that, as they do on a machine that stalls,
# are no result, and tried again with longer.
SLEEPS_S = (1.0, 60.0)
TOO_LATE = "was asleep at the moment 0 times"


def variants() -> Iterator[tuple[str, Variant]]:
    """Every variant that still differs from the others when it is tiny."""
    known: list[object] = []
    for name, (tiny, _) in TINY.items():
        for variant in find_workload(name)[1].variants:
            left = {key: size for key, size in variant.size.items() if key not in tiny}
            run = variant.run
            parts = (run.func, run.args, run.keywords) if isinstance(run, partial) else run
            if (name, parts, variant.loop, left) not in known:
                known.append((name, parts, variant.loop, left))
                yield name, variant


VARIANTS = [
    pytest.param(name, variant, id=f"{name}: {variant.name}") for name, variant in variants()
]


@dataclass
class TinyCell:
    """A cell that measures nothing, and spoils its work if it is told to."""

    url: DatabaseUrl
    settings: Settings
    size: Mapping[str, Any]
    spoil: str | None = None
    measurements: int = field(default=0)

    @contextmanager
    def measured(self) -> Iterator[None]:
        self.measurements += 1
        yield
        if self.spoil is not None:
            with psycopg.connect(self.url.libpq) as connection:
                spoilt = connection.execute(self.spoil).rowcount
            assert spoilt == 1


def measure_here(
    name: str,
    variant: Variant,
    database: DatabaseUrl,
    *,
    spoil: str | None = None,
    sleep_s: float = 10.0,
) -> Counted:
    workload = find_workload(name)[1]
    size = {**workload.sized(variant, quick=True), **TINY[name][0], "sleep_s": sleep_s}
    settings = load_settings({"database_url": database.libpq, "loop": variant.loop})
    cell = TinyCell(database, settings, size, spoil=spoil)
    run: Callable[..., Any] = variant.run
    if variant.loop is None:
        assert not inspect.iscoroutinefunction(run)
        counted = run(cell)
    else:
        counted = run_on_loop(variant.loop, lambda: run(cell))
    assert isinstance(counted, Counted)
    assert cell.measurements == 1
    return counted


def test_every_workload_that_comes_along_is_tried() -> None:
    assert set(TINY) == set(known_workloads())


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_a_variant_does_its_work(name: str, variant: Variant, server: DatabaseUrl) -> None:
    for sleep_s in SLEEPS_S:
        with scratch(server, TEMPLATE) as database:
            counted = measure_here(name, variant, database, sleep_s=sleep_s)
        if not any(TOO_LATE in line for line in counted.anomalies):
            break

    assert list(counted.anomalies) == []
    assert counted.units == TINY[name][1]


def twin(table: str, changes: str, where: str) -> str:
    """A row once more, with other values in some of its columns."""
    return (
        f"INSERT INTO {table} SELECT (jsonb_populate_record(w, '{changes}')).*"
        f" FROM {table} w WHERE {where}"
    )


MESSAGE = "run_id = 'bench' AND position = 7"
MESSAGE_LOST = f"DELETE FROM aexp.publications WHERE {MESSAGE}"
MESSAGE_DOUBLED = twin("aexp.publications", '{"idempotency_key": null}', MESSAGE)
MESSAGE_ALTERED = f"UPDATE aexp.publications SET body = '{{}}' WHERE {MESSAGE}"
MESSAGE_TOO_MANY = f"UPDATE aexp.publications SET position = 99999 WHERE {MESSAGE}"
STEP = "workflow_uuid = 'bench' AND function_id = 3"


def one_child(name: str) -> str:
    return (
        "workflow_uuid = (SELECT workflow_uuid FROM dbos.workflow_status"
        f" WHERE name = '{name}' ORDER BY created_at DESC, workflow_uuid DESC LIMIT 1)"
    )


def child_lost(name: str) -> str:
    return f"DELETE FROM dbos.workflow_status WHERE {one_child(name)}"


def child_doubled(name: str) -> str:
    """A child that ended once more, with its input and its output."""
    status, given, output = (
        twin(f"dbos.{table}", '{"workflow_uuid": "bench-twin"}', one_child(name))
        for table in ("workflow_status", "workflow_input", "workflow_output")
    )
    return f"WITH status AS ({status}), given AS ({given}) {output}"


SLEPT_TOO_LATE = """
    UPDATE dbos.operation_outputs SET started_at_epoch_ms = started_at_epoch_ms + 3600000
    WHERE (workflow_uuid, function_id) = (
        SELECT workflow_uuid, function_id FROM dbos.operation_outputs
        WHERE function_name = 'DBOS.sleep' AND workflow_uuid LIKE 'bench-%' LIMIT 1)
"""
SPOILT = [
    ("publish", "sync", MESSAGE_LOST, "message 7 was published 0 times"),
    ("publish", "limit", MESSAGE_DOUBLED, "message 7 was published 2 times"),
    ("publish-latency", "sync", MESSAGE_DOUBLED, "message 7 was published 2 times"),
    ("bulk", "chunk 20000", MESSAGE_LOST, "message 7 was published 0 times"),
    ("bulk", "sync", MESSAGE_ALTERED, "message 7 was altered"),
    ("bulk", "limit", MESSAGE_TOO_MANY, "message 99999 was published, and nobody had asked for it"),
    (
        "steps",
        "gathered",
        f"DELETE FROM dbos.operation_outputs WHERE {STEP}",
        "step 2 has 0 checkpoints",
    ),
    (
        "steps",
        "sync",
        twin("dbos.operation_outputs", '{"function_id": 999}', STEP),
        "step 2 has 2 checkpoints",
    ),
    ("fibonacci", "process", child_lost("bench.fibonacci"), "came to 144 in 0 workflows"),
    ("fibonacci", "sync", child_doubled("bench.sync.fibonacci"), "came to 144 in 2 workflows"),
    ("sleepers", "async", child_lost("bench.sleeper"), TOO_LATE),
    ("sleepers", "sync", SLEPT_TOO_LATE, TOO_LATE),
    (
        "resume",
        "async",
        "DELETE FROM aexp.events WHERE data->>'step' = '0'",
        "step 0 began 0 times",
    ),
    (
        "resume",
        "seed's settings",
        twin("aexp.events", "{}", "data->>'step' = '0'"),
        "step 0 began 2 times",
    ),
    ("overhead", "bare", child_lost("bench.overhead.child"), "0 children had the steps"),
    ("overhead", "aexp", child_doubled("bench.overhead.child"), "2 children had the steps"),
]


@pytest.mark.parametrize(
    ("name", "variant", "spoil", "anomaly"),
    SPOILT,
    ids=[f"{name}: {variant}" for name, variant, _, _ in SPOILT],
)
def test_work_that_was_spoilt_is_no_result(
    name: str, variant: str, spoil: str, anomaly: str, database: DatabaseUrl
) -> None:
    (found,) = (one for one in find_workload(name)[1].variants if one.name == variant)

    counted = measure_here(name, found, database, spoil=spoil)

    assert any(anomaly in line for line in counted.anomalies), counted.anomalies


def test_a_wrong_number_is_no_result(
    database: DatabaseUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fibonacci, "naive", lambda number: number)
    (limit,) = (one for one in find_workload("fibonacci")[1].variants if one.name == "limit")

    counted = measure_here("fibonacci", limit, database)

    assert counted.anomalies == ["12 is not 144"]
    assert counted.units == 0
