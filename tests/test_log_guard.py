"""Secrets that the log guards: masked wherever they stand, and each line counted."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable
from typing import Literal

import pytest
import structlog

from aexp import log
from aexp.log import configure_logging, guard, guarded_leaks
from tests.support.log_lines import Lines

ours = structlog.stdlib.get_logger("aexp.test")

SECRET = "c0ffee-c0ffee-c0ffee"


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that guards SECRET and has seen no leak."""
    monkeypatch.setattr(log, "_guarded", ())
    monkeypatch.setattr(log, "_leaks", 0)
    guard(SECRET)


def refuse() -> None:
    raise PermissionError(f"401 for {SECRET}")


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize(
    "say",
    [
        lambda: ours.info("http.asked", headers={"Authorization": f"Bearer {SECRET}"}),
        lambda: ours.info("http.asked", headers=[(1, f"Bearer {SECRET}"), SECRET]),
        lambda: ours.info("http.asked", **{SECRET: 1}),
        lambda: ours.info("http.asked", answers={SECRET: {SECRET: None}}),
        lambda: ours.info(f"asked with {SECRET}"),
        lambda: ours.info("http.asked", error=ValueError(f"{SECRET} is refused")),
        lambda: logging.getLogger("a.library").warning("asking with %s", SECRET),
        lambda: logging.getLogger("dbos").error("asking with %r", {"token": SECRET}),
        lambda: warnings.warn(f"asking with {SECRET}", stacklevel=1),
    ],
)
def test_a_guarded_secret_is_masked_and_the_line_counted(
    logged: Lines, say: Callable[[], None], log_format: Literal["json", "console"]
) -> None:
    configure_logging(log_format)
    ours.info("http.asked", url="https://token.example")
    assert guarded_leaks() == 0

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        say()

    text = logged.text()
    assert SECRET not in text
    assert "***" in text
    assert guarded_leaks() == 1, "a line counts once, however often the secret is in it"


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_guarded_secret_is_masked_in_a_traceback(
    logged: Lines, log_format: Literal["json", "console"]
) -> None:
    configure_logging(log_format)
    try:
        refuse()
    except PermissionError:
        ours.exception("http.refused")

    text = logged.text()
    assert "PermissionError: 401 for ***" in text
    assert SECRET not in text
    assert guarded_leaks() == 1


@pytest.mark.usefixtures("guarded")
def test_a_line_without_a_secret_is_left_as_it_is(logged: Lines) -> None:
    configure_logging("json")
    ours.info("an.event", number=1, ratio=0.5, nothing=None, yes=True, many=[1, {"a": 2}])
    line = logged.only()
    assert (line["number"], line["ratio"], line["nothing"], line["yes"]) == (1, 0.5, None, True)
    assert line["many"] == [1, {"a": 2}]
    assert guarded_leaks() == 0


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("secret", ['"', "\\", ":", "größe \n", "{", "0"])
def test_a_line_stays_json_whatever_is_guarded(logged: Lines, secret: str) -> None:
    configure_logging("json")
    guard(secret)
    ours.info("an.event", value=f"before {secret} after", number=10)
    assert logged.only()["value"] == "before *** after"
    assert guarded_leaks() == 1


@pytest.mark.usefixtures("guarded")
def test_a_secret_that_begins_as_another_is_masked_whole(logged: Lines) -> None:
    configure_logging("json")
    guard(SECRET + "-and-more")
    ours.info("an.event", value=SECRET + "-and-more")
    assert logged.only()["value"] == "***"


@pytest.mark.usefixtures("guarded")
def test_of_many_secrets_the_oldest_are_forgotten(logged: Lines) -> None:
    configure_logging("json")
    for number in range(999):
        guard(f"secret number {number}.")
    guard(SECRET)
    guard("the last")
    ours.info("an.event", values=[SECRET, "secret number 0.", "secret number 1."])
    assert logged.only()["values"] == ["***", "secret number 0.", "***"]


@pytest.mark.usefixtures("guarded")
def test_lines_of_many_threads_are_all_counted(logged: Lines) -> None:
    configure_logging("json")

    def say() -> None:
        for _ in range(50):
            ours.info("http.asked", token=SECRET)

    threads = [threading.Thread(target=say) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert guarded_leaks() == 200
    assert SECRET not in logged.text()


def test_an_empty_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="an empty secret is in every line"):
        guard("")
