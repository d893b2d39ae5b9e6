"""The client of a token endpoint, and our own endpoint: what they make of every answer."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest

from aexp.scenarios.credentials.cache import Credential, CredentialsUnavailable
from aexp.scenarios.credentials.promises import marker
from aexp.scenarios.credentials.token_endpoint import DescriptionRefused, open_client, serve
from tests.support.token_server import TOKEN, Endpoint, endpoint


async def fetch(url: str, **options: float) -> Credential:
    given = {"ttl_s": 60.0, "deadline_s": 10.0, **options}
    async with open_client(url, None, **given) as client:
        return await client.fetch()


@pytest.mark.asyncio
async def test_a_token_lives_no_longer_than_is_said_and_than_is_wanted(foreign: Endpoint) -> None:
    before = time.monotonic()
    credential = await fetch(f"{foreign.url}/good")
    assert credential.reveal() == TOKEN
    assert before <= credential.fetched_at <= time.monotonic()
    assert credential.expires_at == credential.fetched_at + 60.0
    longer = await fetch(f"{foreign.url}/good", ttl_s=7200.0)
    assert longer.expires_at == longer.fetched_at + 3600
    gone = await fetch(f"{foreign.url}/short-lived")
    assert gone.expires_at == gone.fetched_at
    unsaid = await fetch(f"{foreign.url}/forever")
    assert unsaid.expires_at == unsaid.fetched_at + 60.0


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/401", "refuses to give a token (401): let it give one without authentication"),
        ("/403", "refuses to give a token (403)"),
        ("/404", "answered 404: correct token_url"),
        ("/202", "answered 202: correct token_url"),
        ("/500", "failed (500): see its log"),
        ("/302", "redirects (302), which is not followed: give the URL that it leads to"),
        ("/307", "redirects (307), which is not followed"),
        ("/garbage", "answered with what is no JSON: correct token_url, or mend the endpoint"),
        ("/deep", "answered with what is no JSON"),
        ("/empty", "answered with what is no JSON"),
        ("/list", "answered with no access_token"),
        ("/no-token", "answered with no access_token"),
        ("/number", "answered with no access_token"),
        ("/lines", "answered with an access_token that cannot stand in a header"),
        ("/short", "answered with an access_token of fewer than 8 characters"),
        ("/mac", "answered with a token that is not of the type Bearer"),
        ("/huge", "answered with more than 65536 bytes"),
    ],
)
async def test_an_endpoint_that_gives_no_token_is_told_with_what_to_do(
    foreign: Endpoint, path: str, reason: str
) -> None:
    with pytest.raises(CredentialsUnavailable) as raised:
        await fetch(f"{foreign.url}{path}?key=in-the-query")
    assert str(raised.value).startswith(f"token endpoint {foreign.url}{path} {reason}")
    assert TOKEN not in str(raised.value)
    assert foreign.asked == [f"{path}?key=in-the-query"], "a redirect is not followed"


@pytest.mark.asyncio
async def test_an_endpoint_that_hangs_is_given_up_at_the_deadline(foreign: Endpoint) -> None:
    with pytest.raises(CredentialsUnavailable, match=r"gave no answer within 0\.05 s"):
        await fetch(f"{foreign.url}/hang", deadline_s=0.05)


@pytest.mark.asyncio
async def test_an_endpoint_that_is_not_there_is_told_with_the_reason() -> None:
    with endpoint() as gone:
        pass
    with pytest.raises(CredentialsUnavailable, match=r"cannot be reached \(Connection refused\)"):
        await fetch(f"{gone.url}/good")
    with pytest.raises(CredentialsUnavailable, match=r"cannot be reached \(its host name is"):
        await fetch("http://no-such-host.invalid/token")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("greeting", "reason"),
    [(b"SSH-2.0-OpenSSH_9.9\r\n", "does not speak HTTP"), (b"", "cannot be reached")],
)
async def test_what_is_no_http_server_is_told_as_that(greeting: bytes, reason: str) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not before the request has come, or the client may fail at sending it.
        await reader.readuntil(b"\r\n\r\n")
        writer.write(greeting)
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(CredentialsUnavailable, match=reason):
            await fetch(f"http://127.0.0.1:{port}/token")


@pytest.mark.asyncio
async def test_no_proxy_of_the_environment_comes_between(
    foreign: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    with endpoint() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert (await fetch(f"{foreign.url}/good")).reveal() == TOKEN
        assert proxy.asked == []


@pytest.mark.asyncio
async def test_our_endpoint_describes_users_to_who_has_a_token_of_its_own() -> None:
    async with (
        serve(marker("r"), 7.0) as url,
        open_client(f"{url}/token", f"{url}/users", ttl_s=60.0, deadline_s=10.0) as client,
    ):
        one, other = await client.fetch(), await client.fetch()
        assert one.expires_at == one.fetched_at + 7.0
        assert one.reveal() != other.reveal()
        assert one.reveal().startswith(marker("r"))
        for credential in (one, other):
            assert await client.describe("2.3", credential) == {
                "user": "2.3",
                "description": "user 3 of page 2",
            }
        forged = Credential(marker("r") + ".forged", fetched_at=0.0, expires_at=1.0)
        with pytest.raises(DescriptionRefused, match=r"user 2\.3 was refused with 401"):
            await client.describe("2.3", forged)
        async with aiohttp.ClientSession() as session, session.get(f"{url}/users/1.1") as answer:
            assert answer.status == 401
