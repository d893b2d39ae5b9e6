"""What DBOS refuses, in words; and code for an older DBOS."""

from __future__ import annotations

import dbos
import pytest
from dbos import DBOS, DBOSConfig, Queue

from aexp.engine.refusals import explain_old_code


def use(code: str) -> BaseException:
    """Return what ``code`` raises."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 - whatever this DBOS raises
        exec(code, {"DBOS": DBOS, "Queue": Queue, "dbos": dbos, "DBOSConfig": DBOSConfig})
    return raised.value


@pytest.mark.parametrize(
    ("code", "instead"),
    [
        ("DBOS.transaction()", "SQLAlchemyDatasource"),
        ("DBOS.scheduled('* * * * *')", "DBOS.create_schedule"),
        ("DBOS.sql_session", "SQLAlchemyDatasource"),
        ("DBOS.communicator()", "@DBOS.step()"),
        ("Queue('mails')", "DBOS.register_queue"),
        ("DBOS.register_queue('mails', partition_queue=True)", "partition_concurrency"),
        ("DBOS(fastapi=object())", "beside the FastAPI application"),
        (
            "DBOS(config={'name': 'shop', 'database_url': 'postgresql://x/y'})",
            "system_database_url",
        ),
        ("from dbos import SetWorkflowUUID", "SetWorkflowID"),
        ("from dbos import load_config", "a DBOSConfig in code"),
        ("DBOS.never_there_but_once", "this code is for an older DBOS than 3.4"),
    ],
)
def test_code_for_an_older_dbos_is_told_what_to_use(code: str, instead: str) -> None:
    advice = explain_old_code(use(code))

    assert advice is not None
    assert advice.startswith("this code is for an older DBOS than 3.4")
    assert instead in advice
    assert "\n" not in advice


@pytest.mark.parametrize(
    "code",
    [
        "object().transaction",
        "type('Shop', (), {}).transaction",
        "from json import transaction",
        "raise ValueError(\"type object 'DBOS' has no attribute 'transaction'\")",
        "int('x')",
        "print(fastapi=1)",
        "DBOS.register_queue('mails', worker_concurency=1)",
        "DBOS(config={})",
    ],
)
def test_other_errors_are_nothing_of_the_kind(code: str) -> None:
    assert explain_old_code(use(code)) is None
