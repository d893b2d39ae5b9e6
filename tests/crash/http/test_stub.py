"""A stub over real HTTP: what it answers, and what it notes."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import anyio
import httpx
import pytest

from aexp.crash.http.routes import HttpAnswer, HttpRoute
from aexp.crash.http.stub import HttpStub, serve_all

pytestmark = pytest.mark.asyncio

CHARGES = HttpStub(
    [HttpRoute(method="POST", path="/charges", answers=[HttpAnswer(status=201, json={"id": 1})])]
)


def answering(*answers: HttpAnswer, idempotent: bool = False) -> HttpStub:
    return HttpStub(
        [HttpRoute(method="POST", path="/charges", answers=answers, idempotent=idempotent)]
    )


async def test_it_answers_as_the_file_says_and_notes_what_came(tmp_path: Path) -> None:
    file = anyio.Path(tmp_path / "payments.yaml")
    await file.write_text(
        "- {method: POST, path: '/orders/{order}', status: 201, json: {id: ü}, headers: {X-A: 1}}\n"
        "- {method: GET, path: /text, body: hello}\n"
    )
    before = time.monotonic()
    async with (
        HttpStub.from_file(str(file)).serve() as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        done = await client.post(
            "/orders/A17?now=1", json={"cents": 5}, headers={"Idempotency-Key": "k"}
        )
        text = await client.get("/text")
    assert (done.status_code, done.json(), done.headers["x-a"]) == (201, {"id": "ü"}, "1")
    assert done.headers["content-type"] == "application/json"
    assert (text.text, text.headers["content-type"]) == ("hello", "text/plain; charset=utf-8")
    first, second = served.requests
    assert (first.method, first.path, first.body) == ("POST", "/orders/A17?now=1", '{"cents":5}')
    assert (first.key, first.route, first.status) == ("k", "/orders/{order}", 201)
    assert before < first.at < second.at
    assert (second.key, second.body, second.life) == (None, "", None)


async def test_what_no_route_takes_is_answered_by_what_is_missing() -> None:
    async with CHARGES.serve() as served, httpx.AsyncClient(base_url=served.url) as client:
        done = await client.get("/charges?a=1")
    assert done.status_code == 404
    assert done.json() == {
        "error": "the stub has no route for GET /charges: add one",
        "routes": ["POST /charges"],
    }
    assert [(each.route, each.status) for each in served.requests] == [(None, 404)]


async def test_answers_come_one_after_the_other_and_the_last_one_is_repeated() -> None:
    stub = answering(HttpAnswer(status=503), HttpAnswer(body="a"), HttpAnswer(body="b"))
    async with stub.serve() as served, httpx.AsyncClient(base_url=served.url) as client:
        done = [await client.post("/charges", headers={"Idempotency-Key": "k"}) for _ in range(4)]
    assert [each.text for each in done] == ["", "a", "b", "b"]
    async with stub.serve() as served, httpx.AsyncClient(base_url=served.url) as client:
        assert (await client.post("/charges")).status_code == 503


async def test_an_idempotent_route_answers_a_key_as_it_did_but_for_failures() -> None:
    answers = [HttpAnswer(status=503), HttpAnswer(body="a"), HttpAnswer(body="b")]
    async with (
        answering(*answers, idempotent=True).serve() as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        keys = ["k", "k", "k", "other", None]
        headers = [{} if key is None else {"Idempotency-Key": key} for key in keys]
        done = [await client.post("/charges", headers=each) for each in headers]
    assert [each.text for each in done] == ["", "a", "a", "b", "b"]
    assert [each.replayed for each in served.requests] == [False, False, True, False, False]


async def test_a_request_counts_though_its_sender_waits_for_no_answer() -> None:
    slow = answering(HttpAnswer(delay_s=3600))
    async with slow.serve() as served:
        async with httpx.AsyncClient(base_url=served.url) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.post("/charges", timeout=httpx.Timeout(60, read=0.2))
        assert len(served.requests) == 1
        began = time.monotonic()
    # What is being answered keeps nobody waiting.
    assert time.monotonic() - began < 5


async def test_a_body_that_came_in_part_is_no_request() -> None:
    async with CHARGES.serve() as served:
        host, port = served.address.split(":")
        async with await anyio.connect_tcp(host, int(port)) as stream:
            await stream.send(b"POST /charges HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")
        async with httpx.AsyncClient(base_url=served.url) as client:
            await client.post("/charges", content=b"whole")
        assert [each.body for each in served.requests] == ["whole"]


async def test_a_long_body_is_kept_by_its_beginning_and_digest() -> None:
    content = b"x" * 100_000
    async with CHARGES.serve() as served, httpx.AsyncClient(base_url=served.url) as client:
        await client.post("/charges", content=content)
        await client.post("/charges", content=b"\xff\x00")
    long, binary = [each.body for each in served.requests]
    assert long.startswith("x" * 1000)
    assert len(long) < 20_000
    assert long.endswith(f"100000 bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")
    assert json.loads(json.dumps(binary)) == "\\xff\x00"


async def test_each_stub_has_an_address_and_requests_of_its_own() -> None:
    lives = iter([3, 4])
    async with (
        serve_all({"A_URL": CHARGES, "B_URL": CHARGES}, sender=lambda: next(lives)) as stubs,
        httpx.AsyncClient() as client,
    ):
        for name in ("A_URL", "B_URL"):
            await client.post(f"{stubs[name].url}/charges")
    assert len({stub.address for stub in stubs.values()}) == 2
    told = {
        name: [(each.stub, each.life) for each in stub.requests] for name, stub in stubs.items()
    }
    assert told == {"A_URL": [("A_URL", 3)], "B_URL": [("B_URL", 4)]}
