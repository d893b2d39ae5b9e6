"""One pipeline for our events and for those of libraries: JSON lines without a password."""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
import structlog
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sqlalchemy.engine import url as sqlalchemy_url

from aexp.database import DatabaseUrl
from aexp.log import adopt_library, bind_process, configure_logging, mask
from tests.support.log_lines import Lines

URL = "postgresql://ada:hunter2@db.example/aexp"

ours = structlog.stdlib.get_logger("aexp.test")


def test_an_event_is_one_json_object(logged: Lines) -> None:
    configure_logging("json")
    before = datetime.now(UTC)

    ours.info("publisher.message_published", position=7, channel="größe\n1")

    line = logged.only()
    written = line.pop("timestamp")
    assert written.endswith("Z"), "RFC 3339, UTC"
    assert before <= datetime.fromisoformat(written) <= datetime.now(UTC)
    assert line == {
        "severity": "INFO",
        "event": "publisher.message_published",
        "logger": "aexp.test",
        "position": 7,
        "channel": "größe\n1",
    }


@pytest.mark.parametrize("name", ["dbos", "sqlalchemy", "sqlalchemy.engine", "asyncio", "a.user"])
def test_a_library_goes_through_the_same_formatter(name: str, logged: Lines) -> None:
    configure_logging("json")

    logging.getLogger(name).warning("%d tries on %s", 3, URL)

    line = logged.only()
    datetime.fromisoformat(line.pop("timestamp"))
    assert line == {
        "severity": "WARNING",
        "event": "3 tries on postgresql://ada:***@db.example/aexp",
        "logger": name,
    }


def test_libraries_are_heard_from_warning_on_and_ours_from_info_on(logged: Lines) -> None:
    configure_logging("json", "info")

    for name in ("dbos", "sqlalchemy.engine", "asyncio", "alembic.runtime"):
        logging.getLogger(name).info("a library's chatter")
    ours.debug("a.detail")
    assert logged.all() == []

    ours.info("an.event")
    assert logged.only()["event"] == "an.event"


def test_debug_hears_libraries_too(logged: Lines) -> None:
    configure_logging("json", "debug")

    logging.getLogger("dbos").debug("a detail")

    assert logged.only()["severity"] == "DEBUG"


def test_a_level_above_warning_holds_for_libraries_too(logged: Lines) -> None:
    configure_logging("json", "error")

    logging.getLogger("dbos").warning("not heard")
    ours.warning("not.heard")

    assert logged.all() == []


def test_configuring_again_logs_nothing_twice(logged: Lines) -> None:
    configure_logging("json")
    configure_logging("json")

    ours.info("an.event")
    logging.getLogger("dbos").warning("a warning")

    assert [line["event"] for line in logged.all()] == ["an.event", "a warning"]


def test_auto_is_for_people_on_a_terminal_only(
    logged: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_logging("auto")
    ours.info("an.event")
    assert logged.only()["event"] == "an.event"

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    configure_logging("auto")
    ours.info("an.event")
    shown = logged.text()
    assert "an.event" in shown
    assert not shown.startswith("{")


def test_warnings_are_logged(logged: Lines) -> None:
    configure_logging("json")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old spelling", UserWarning, stacklevel=1)

    line = logged.only()
    assert (line["logger"], line["severity"]) == ("py.warnings", "WARNING")
    assert "UserWarning: old spelling" in line["event"]


def test_what_is_bound_to_the_process_is_on_every_line_of_every_thread(logged: Lines) -> None:
    configure_logging("json")
    bind_process(run_id="r1", executor_id="local")

    thread = threading.Thread(target=logging.getLogger("dbos").warning, args=["from a thread"])
    thread.start()
    thread.join()
    ours.info("an.event", executor_id="another")

    foreign, own = logged.all()
    assert (foreign["run_id"], foreign["executor_id"]) == ("r1", "local")
    assert (own["run_id"], own["executor_id"]) == ("r1", "another"), "the nearest binding wins"
    assert foreign["pid"] == own["pid"] == os.getpid()


def test_what_is_bound_to_the_context_is_on_its_lines(logged: Lines) -> None:
    configure_logging("json")

    with structlog.contextvars.bound_contextvars(step_id=3):
        ours.info("inside")
    ours.info("outside")

    assert ["step_id" in line for line in logged.all()] == [True, False]


def test_an_adopted_library_writes_through_us_and_adds_to_every_line(logged: Lines) -> None:
    library = logging.getLogger("a.library")
    library.addHandler(logging.StreamHandler())

    adopt_library(
        "a.library",
        context=lambda _logger, _method, event: {"task": 7, **event},
        stamps=lambda _logger, _method, event: {
            "place": getattr(event["_record"], "place", None),
            **event,
        },
    )
    configure_logging("json")
    library.warning("theirs", extra={"place": "here"})
    ours.info("an.event")

    theirs, own = logged.all()
    assert (theirs["event"], theirs["task"], theirs["place"]) == ("theirs", 7, "here")
    assert (own["event"], own["task"], own["place"]) == ("an.event", 7, None)


def test_what_dbos_stamps_on_its_records_gets_our_names(logged: Lines) -> None:
    configure_logging("json")

    stamps = {"operationUUID": "r1.4.2", "executorID": "local", "applicationID": "aexp"}
    logging.getLogger("dbos").warning("retrying", extra=stamps)

    line = logged.only()
    assert (line["workflow_id"], line["executor_id"]) == ("r1.4.2", "local")
    assert not set(stamps) & set(line)


@pytest.mark.parametrize(
    "value",
    [{("a", 1): 2}, float("nan"), b"bytes", {3, 4}, datetime(2026, 1, 1, tzinfo=UTC), "\ud800"],
    ids=["tuple as key", "NaN", "bytes", "set", "time", "lone surrogate"],
)
def test_a_value_that_json_does_not_know_is_still_logged(value: Any, logged: Lines) -> None:
    configure_logging("json")

    ours.info("an.event", value=value)

    assert "value" in logged.only()


def connect_to_url() -> None:
    raise ConnectionError(f"no answer from {URL}")


def log_an_exception() -> None:
    try:
        connect_to_url()
    except ConnectionError:
        ours.exception("connection.failed")


LEAKS: dict[str, Callable[[], None]] = {
    "the event": lambda: ours.info(f"connected to {URL}"),
    "a value": lambda: ours.info("connected", url=URL),
    "a bound value": lambda: structlog.stdlib.get_logger("aexp").bind(url=URL).info("connected"),
    "a value in a mapping": lambda: ours.info("run.started", parameters={"url": URL}),
    "a value in a list": lambda: ours.info("run.started", urls=[URL]),
    "an error as a value": lambda: ours.info("connected", error=ConnectionError(URL)),
    "an exception": log_an_exception,
    "an argument of a library": lambda: logging.getLogger("dbos").warning("no answer: %s", URL),
}


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("leak", LEAKS)
def test_no_password_is_logged(
    leak: str, log_format: Literal["json", "console"], logged: Lines
) -> None:
    configure_logging(log_format)

    LEAKS[leak]()

    text = logged.text()
    assert "db.example" in text, "it was logged"
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "text",
    [
        f"cannot use {URL}, nor {URL.replace('ada', 'eve')}: refused",
        "postgresql://:hunter2@/aexp",
        "postgresql+psycopg://ada:hunter2@[::1]:5432/aexp",
        "postgresql://ada:hunter2/slash@db.example/aexp",
        "postgresql://ada:at@hunter2@db.example/aexp",
        "postgresql:///aexp?user=ada&password=hunter2&host=db.example",
        "host=db.example password=hunter2 user=ada",
        "host=db.example PASSWORD='with hunter2' user=ada",
        "host=db.example password = hunter2 user=ada",
        r"host=db.example password='it\'s hunter2' user=ada",
        r"host=db.example password=with\ hunter2 user=ada",
        "host=db.example sslpassword=hunter2",
    ],
)
def test_masking_hides_each_spelling_of_a_password(text: str) -> None:
    assert "hunter2" not in mask(text)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://db.example:5432/aexp?connect_timeout=3",
        "postgresql://ada@db.example/aexp",
        "published 3 of 20 messages at 10:15 to ada@example.org",
        "password authentication failed for user ada",
    ],
)
def test_masking_leaves_the_rest_alone(text: str) -> None:
    assert mask(text) == text


@given(st.text(max_size=12))
@effort(max_examples=50, deadline=None, database=None)
def test_masking_hides_the_password_in_what_drivers_are_given(middle: str) -> None:
    url = DatabaseUrl(
        sqlalchemy_url.URL.create(
            "postgresql", "ada", f"hunter2{middle}swordfish", "db.example", database="aexp"
        )
    )

    for given_to_driver in (url.libpq, url.dsn):
        masked = mask(f"cannot use {given_to_driver}: refused")

        assert "hunter2" not in masked
        assert "swordfish" not in masked
        assert "db.example/aexp" in masked
