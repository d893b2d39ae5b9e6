"""What a module gives to DBOS when it is imported is kept; what would start something is not."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from dbos import DBOS, DBOSConfig, Queue
from dbos import error as dbos_error

from aexp.engine import declared
from aexp.engine.config import merge_config
from aexp.engine.declared import Declarations, noting_declarations
from aexp.errors import InvalidTarget
from aexp.scenarios import find_scenario
from tests.support.log_lines import logging_as_before

OURS: DBOSConfig = {
    "name": "aexp",
    "system_database_url": "postgresql:///experiment",
    "application_version": "run-1",
    "executor_id": "local",
    "max_executor_threads": 12,
    "db_engine_kwargs": {"connect_args": {"application_name": "aexp"}},
}
SERIALIZER = object()


@pytest.fixture(autouse=True)
def _nothing_declared_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(declared, "_latest", Declarations())
    monkeypatch.setattr(sys, "path", sys.path[:])
    with logging_as_before():
        yield
        DBOS.destroy()


def test_a_config_that_says_nothing_else_is_not_overridden() -> None:
    config, overridden = merge_config(OURS, {"name": "aexp", "executor_id": None})
    assert config == OURS
    assert overridden == []


def test_what_keeps_runs_apart_is_ours_and_the_rest_is_kept() -> None:
    theirs: Mapping[str, Any] = {
        "name": "shop",
        "system_database_url": "postgresql:///production",
        "system_database_engine": object(),
        "dbos_system_schema": "workflows",
        "executor_id": "shop-1",
        "application_version": "7",
        "conductor_key": "secret",
        "serializer": SERIALIZER,
        "enable_patching": True,
        "max_executor_threads": 4,
        "db_engine_kwargs": {"max_overflow": 3, "connect_args": {}},
    }
    config, overridden = merge_config(OURS, theirs)
    assert config == {
        **OURS,
        "serializer": SERIALIZER,
        "enable_patching": True,
        "max_executor_threads": 4,
        "db_engine_kwargs": {"max_overflow": 3, "connect_args": {"application_name": "aexp"}},
    }
    assert overridden == [
        "application_version", "conductor_key", "dbos_system_schema", "executor_id", "name",
        "system_database_engine", "system_database_url",
    ]  # fmt: skip


def test_the_schema_that_dbos_has_anyway_is_not_overridden() -> None:
    _, overridden = merge_config(OURS, {"dbos_system_schema": "dbos", "auto_upgrade": False})
    assert overridden == []


def test_a_module_that_launches_is_imported_and_nothing_is_launched() -> None:
    config: DBOSConfig = {"name": "shop", "system_database_url": "postgresql://h:1/none"}
    config["executor_id"] = "shop-1"
    methods = dict(DBOS.__dict__)
    with noting_declarations() as learn:
        dbos = DBOS(config=config)
        DBOS(config={"name": "another"})
        DBOS.reset_system_database()
        dbos.launch()
        DBOS.launch()
        queue = DBOS.register_queue("mails", worker_concurrency=2, on_conflict="always_update")
        DBOS.apply_schedules([])
        with pytest.raises(dbos_error.DBOSException, match="before DBOS was launched"):
            _ = dbos._sys_db
    told = learn()
    assert told.config == config
    assert told.queues == {"mails": {"worker_concurrency": 2}}
    assert told.held_off == ("reset_system_database", "launch", "apply_schedules")
    assert queue.name == "mails"
    assert isinstance(queue, Queue)
    assert dict(DBOS.__dict__) == methods


def test_a_module_shares_the_configuration_of_one_imported_before() -> None:
    with noting_declarations() as learn:
        DBOS(config={"name": "shop", "system_database_url": "postgresql://h:1/none"})
    assert learn().config["name"] == "shop"
    with noting_declarations() as learn:
        pass
    assert learn().config["name"] == "shop"
    assert learn().held_off == ()


LAUNCHES = """
from dbos import DBOS, DBOSConfig

config: DBOSConfig = {"name": "shop", "system_database_url": "postgresql://h:1/none"}
DBOS(config=config)
DBOS.launch()

@DBOS.workflow()
async def sell() -> str:
    return "sold"
"""


def test_what_a_module_declares_comes_with_its_workflow() -> None:
    Path("launching_flows.py").write_text(LAUNCHES)
    _, scenario = find_scenario("launching_flows.py:sell")
    assert scenario.declared.config["name"] == "shop"
    assert scenario.declared.held_off == ("launch",)
    # It is imported once, and the same is known of it.
    assert find_scenario("launching_flows.py:sell")[1].declared == scenario.declared


def test_a_module_that_works_when_it_is_imported_is_told_where_that_belongs() -> None:
    Path("working_flows.py").write_text(f"{LAUNCHES}\nDBOS.list_workflows()\n")
    with pytest.raises(InvalidTarget, match=r"put what comes after DBOS\.launch\(\) below `if __n"):
        find_scenario("working_flows.py:sell")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            "partition_queue=True",
            (
                "TypeError: DBOS.register_queue('mails') got an unexpected keyword argument"
                " 'partition_queue': this code is for an older DBOS than 3.4, where it is a limit"
                " of each partition, such as partition_concurrency"
            ),
        ),
        (
            "worker_concurency=2",
            (
                "TypeError: DBOS.register_queue('mails') got an unexpected keyword argument"
                " 'worker_concurency'; did you mean 'worker_concurrency'?"
            ),
        ),
        (
            "limiter={'limit': 1}",
            (
                "ValueError: DBOS.register_queue('mails'): limiter must specify both 'limit' and"
                " 'period'"
            ),
        ),
        (
            "limiter=1",
            "AttributeError: DBOS.register_queue('mails'): 'int' object has no attribute 'get'",
        ),
    ],
)
def test_a_queue_that_dbos_would_not_register_is_told_when_its_module_is_imported(
    options: str, reason: str
) -> None:
    Path("queueing_flows.py").write_text(
        f"from dbos import DBOS\n\nDBOS.register_queue('mails', {options})\n"
    )
    with pytest.raises(InvalidTarget) as refused:
        find_scenario("queueing_flows.py:sell")
    file = Path("queueing_flows.py").absolute()
    assert str(refused.value) == f"{file} does not import: {reason}"


def test_options_that_dbos_takes_are_taken() -> None:
    options: Mapping[str, Any] = {
        "global_concurrency": 4,
        "partition_limiter": {"limit": 1, "period": 0.5},
        "polling_interval_sec": 0.1,
    }
    with noting_declarations() as learn:
        DBOS.register_queue("mails", **options, on_conflict="never_update")
        DBOS.register_queue(name="letters")
    assert learn().queues == {"mails": options, "letters": {}}
