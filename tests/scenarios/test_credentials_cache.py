"""One fetch for however many ask, anew when it has expired, and a secret that does not get out."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import pickle
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel
import pytest
from dbos._serialization import DefaultSerializer

from aexp.scenarios.credentials.cache import (
    Credential,
    CredentialsCache,
    CredentialsUnavailable,
    Reason,
)

SECRET = "hunter2-hunter2-hunter2"  # a test's
TTL_S = 60.0


@dataclass
class Source:
    """Where credentials come from in a test: its clock is turned by hand, its door opened."""

    now: float = 1000.0
    reasons: list[Reason] = field(default_factory=list)
    refused: bool = False
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def clock(self) -> float:
        return self.now

    async def fetch(self, why: Reason) -> Credential:
        self.reasons.append(why)
        fetched_at = self.now
        await self.open.wait()
        if self.refused:
            raise CredentialsUnavailable("the endpoint refuses")
        return Credential(SECRET, fetched_at=fetched_at, expires_at=fetched_at + TTL_S)

    def cache(self) -> CredentialsCache:
        return CredentialsCache(self.fetch, self.clock)


async def until_asked(source: Source, times: int = 1) -> None:
    with anyio.fail_after(10):
        while len(source.reasons) < times:
            await anyio.lowlevel.checkpoint()


@pytest.mark.asyncio
async def test_a_hundred_who_ask_at_once_cost_one_fetch() -> None:
    source = Source()
    async with source.cache() as cache:
        assert source.reasons == [], "nobody has asked yet"
        asking = [asyncio.ensure_future(cache.get()) for _ in range(100)]
        await until_asked(source)
        source.open.set()
        given = await asyncio.gather(*asking)
        assert source.reasons == ["first"]
        assert all(credential is given[0] for credential in given)
        assert given[0].reveal() == SECRET
        assert await cache.get() is given[0]
    assert source.reasons == ["first"]


@pytest.mark.asyncio
async def test_it_is_fetched_anew_when_it_has_expired_and_no_earlier() -> None:
    source = Source()
    source.open.set()
    async with source.cache() as cache:
        first = await cache.get()
        source.now += TTL_S - 0.001
        assert await cache.get() is first
        source.now = first.expires_at
        again = await asyncio.gather(*(cache.get() for _ in range(100)))
        assert source.reasons == ["first", "expired"]
        assert again[0].fetched_at >= first.expires_at
        assert all(credential is again[0] for credential in again)


@pytest.mark.asyncio
async def test_who_asks_when_a_slow_fetch_has_expired_already_is_given_another() -> None:
    source = Source()
    async with source.cache() as cache:
        early = asyncio.ensure_future(cache.get())
        await until_asked(source)
        source.now += 2 * TTL_S
        late = asyncio.ensure_future(cache.get())
        await anyio.lowlevel.checkpoint()
        source.open.set()

        assert (await early).expires_at < source.now
        assert (await late).expires_at > source.now
    assert source.reasons == ["first", "expired"]


@pytest.mark.asyncio
async def test_a_failed_fetch_fails_for_all_who_wait_and_the_next_tries_again() -> None:
    source = Source(refused=True)
    async with source.cache() as cache:
        asking = [asyncio.ensure_future(cache.get()) for _ in range(100)]
        await until_asked(source)
        source.open.set()
        errors = await asyncio.gather(*asking, return_exceptions=True)
        assert {str(error) for error in errors} == {"the endpoint refuses"}
        assert all(isinstance(error, CredentialsUnavailable) for error in errors)
        assert len({id(error) for error in errors}) == 100, "each waiter has a traceback of its own"
        assert source.reasons == ["first"]

        source.refused = False
        assert (await cache.get()).reveal() == SECRET
        assert source.reasons == ["first", "first"]


@pytest.mark.asyncio
async def test_a_failed_refresh_gives_nobody_what_has_expired() -> None:
    source = Source()
    source.open.set()
    async with source.cache() as cache:
        await cache.get()
        source.now += TTL_S
        source.refused = True
        with pytest.raises(CredentialsUnavailable, match="the endpoint refuses"):
            await cache.get()
        source.refused = False
        await cache.get()
    assert source.reasons == ["first", "expired", "expired"]


@pytest.mark.asyncio
async def test_who_asked_first_may_be_cancelled_without_harm_to_the_others() -> None:
    source = Source()
    async with source.cache() as cache:
        first = asyncio.ensure_future(cache.get())
        await until_asked(source)
        others = [asyncio.ensure_future(cache.get()) for _ in range(10)]
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        source.open.set()
        assert {credential.reveal() for credential in await asyncio.gather(*others)} == {SECRET}
    assert source.reasons == ["first"]


@pytest.mark.asyncio
async def test_a_fetch_whose_waiters_are_all_cancelled_is_not_lost() -> None:
    source = Source()
    async with source.cache() as cache:
        only = asyncio.ensure_future(cache.get())
        await until_asked(source)
        only.cancel()
        with pytest.raises(asyncio.CancelledError):
            await only
        source.open.set()
        assert (await cache.get()).reveal() == SECRET
    assert source.reasons == ["first"]


@pytest.mark.asyncio
async def test_the_end_of_the_cache_gives_up_a_fetch_under_way_and_says_so() -> None:
    source = Source()
    async with source.cache() as cache:
        waiting = asyncio.ensure_future(cache.get())
        await until_asked(source)
    with pytest.raises(CredentialsUnavailable, match="this process is ending"):
        await waiting


CREDENTIAL = Credential(SECRET, fetched_at=1.0, expires_at=2.0)


def test_a_credential_does_not_show_its_secret() -> None:
    for shown in (
        repr(CREDENTIAL),
        str(CREDENTIAL),
        f"{CREDENTIAL} {CREDENTIAL!r}",
        repr([CREDENTIAL]),
        json.dumps(CREDENTIAL, default=str),
    ):
        assert "Credential(***" in shown
        assert SECRET not in shown
    assert not hasattr(CREDENTIAL, "__dict__")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_credential_is_not_pickled(protocol: int) -> None:
    with pytest.raises(TypeError, match="is not pickled"):
        pickle.dumps({"of a step": [CREDENTIAL]}, protocol)


def test_a_credential_is_not_copied() -> None:
    with pytest.raises(TypeError, match="is not pickled"):
        copy.deepcopy(CREDENTIAL)


def test_dbos_refuses_to_checkpoint_a_credential_and_logs_no_secret(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("dbos"), "propagate", True)
    with pytest.raises(TypeError, match="is not pickled"):
        DefaultSerializer().serialize({"output": CREDENTIAL})
    assert "Error serializing object" in caplog.text
    assert SECRET not in caplog.text
