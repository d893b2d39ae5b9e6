"""A second signal cuts short what is done, and leaves what was opened the time to close."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import NoReturn

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from aexp.errors import Interrupted, first_of_ours
from aexp.processes.signals import unwind_on_signals
from tests.support.cli import TIMEOUT_S

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


async def interrupted_twice(
    close: Callable[[], Awaitable[None]], give_up: Callable[[], None], limit_s: float
) -> None:
    """Work that two signals end, and what has to be closed then."""

    def end() -> NoReturn:
        # Nor does a further one matter, now that the process is about to end.
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        raise Interrupted

    async with unwind_on_signals(end, give_up, limit_s) as stop:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await stop.event.wait()
            os.kill(os.getpid(), signal.SIGINT)
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await close()


async def test_what_was_opened_is_closed_however_many_signals_come() -> None:
    closed, given_up = anyio.Event(), threading.Event()

    async def close() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await anyio.lowlevel.checkpoint()
        closed.set()

    with anyio.fail_after(TIMEOUT_S), pytest.raises(ExceptionGroup) as ended:
        await interrupted_twice(close, given_up.set, TIMEOUT_S)
    assert isinstance(first_of_ours(ended.value), Interrupted)
    assert closed.is_set()
    assert not given_up.is_set()


async def test_what_takes_too_long_to_close_is_given_up() -> None:
    given_up = threading.Event()

    async def close() -> None:
        assert await anyio.to_thread.run_sync(given_up.wait, TIMEOUT_S)

    with anyio.fail_after(TIMEOUT_S), pytest.raises(ExceptionGroup) as ended:
        await interrupted_twice(close, given_up.set, 0.0)
    assert isinstance(first_of_ours(ended.value), Interrupted)


async def test_one_signal_asks_and_cuts_nothing_short() -> None:
    given_up = threading.Event()

    def ended() -> NoReturn:
        raise Interrupted

    with anyio.fail_after(TIMEOUT_S):
        async with unwind_on_signals(ended, given_up.set, 0.0) as stop:
            os.kill(os.getpid(), signal.SIGINT)
            await stop.event.wait()
            await anyio.lowlevel.checkpoint()
    assert not given_up.is_set()
