"""Who may do what: names, tokens, sites, sizes, deadlines, files."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import httpx
import pytest
import uvicorn
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from aexp.database import DatabaseUrl
from aexp.service.middleware import Gate
from aexp.service.options import ServiceOptions
from aexp.service.server import address, listen
from aexp.service.state import Service
from aexp.settings import Settings
from tests.support.cli import TIMEOUT_S, Cli, wait_until
from tests.support.service import Served, problem, serving

TOKEN = "correct-horse-battery"


def raw(served: Served, *parts: bytes) -> bytes:
    """What the service answers to these bytes, until it closes the connection."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
        for part in parts:
            connection.sendall(part)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


def test_it_refuses_to_listen_elsewhere_without_a_token(cli: Cli) -> None:
    result = cli("serve", "--host", "0.0.0.0", "--port", "0")
    assert result.code == 2
    assert "set AEXP_API_TOKEN" in result.error
    cli.environment = {"AEXP_API_TOKEN": "short"}
    assert "too short" in cli("serve", "--port", "0").error


@pytest.mark.parametrize("source", ["flag", "environment"])
def test_a_port_that_is_taken_is_an_error_of_one_line(cli: Cli, source: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cli.environment = {"AEXP_LISTEN_PORT": str(port if source == "environment" else 0)}
        result = cli("serve", *(["--port", str(port)] if source == "flag" else []))
    assert result.code == 2
    assert f"cannot listen on 127.0.0.1:{port}" in result.error


def test_with_a_token_every_request_needs_it_but_the_probes(cli: Cli) -> None:
    with serving(cli, "--host", "0.0.0.0", token=TOKEN) as served:
        url = f"http://127.0.0.1:{served.port}"
        with httpx.Client(base_url=url, trust_env=False) as stranger:
            assert stranger.get("/livez").status_code == 200
            wait_until(lambda: stranger.get("/readyz").status_code == 200)
            for path in ("/scenarios", "/runs", "/metrics", "/openapi.json", "/nowhere", "/"):
                refused = stranger.get(path)
                problem(refused, 401, "unauthorized")
                assert refused.headers["www-authenticate"].startswith("Bearer")
            for wrong in (
                b"", b"Bearer", b"Bearer wrong", f"Basic {TOKEN}".encode(), TOKEN.encode(),
                f"Bearer {TOKEN}x".encode(), f"Bearer {TOKEN[:-1]}".encode(), b"Bearer \xff\xfe",
            ):  # fmt: skip
                refused = stranger.post("/shutdown", headers={b"Authorization": wrong})
                problem(refused, 401, "unauthorized")
            right = {"Authorization": f"bearer {TOKEN}"}
            # Bound to all addresses it goes by any name.
            answer = stranger.get("/runs", headers={**right, "Host": "elsewhere.example"})
            assert answer.status_code == 200
            document = stranger.get("/openapi.json", headers=right).json()
            assert document["security"] == [{"token": []}]
            ran = stranger.post(
                "/trigger_sync?scenario=scope", json={}, headers=right, timeout=120
            ).json()
        assert TOKEN not in str(ran)
        assert TOKEN not in served.log.read_text()
        assert served.process.poll() is None


def test_a_name_that_was_made_to_mean_this_machine_is_refused(shared: Served) -> None:
    for name in ("evil.example", f"evil.example:{shared.port}", "127.0.0.1.evil.example", "[::1"):
        problem(shared.client.get("/runs", headers={"Host": name}), 421, "wrong-host")
    for name in ("localhost", f"localhost:{shared.port}", "127.0.0.1", "LOCALHOST"):
        assert shared.client.get("/runs", headers={"Host": name}).status_code == 200


def test_a_service_goes_by_the_name_it_was_given_and_by_the_one_it_tells(cli: Cli) -> None:
    # A name of 127.0.0.2 on every machine.
    with serving(cli, "--host", "0X7F000002") as served:
        assert served.url.startswith("http://127.0.0.2:")
        for host in (f"127.0.0.2:{served.port}", "0x7f000002", "0X7F000002", "localhost"):
            assert served.client.get("/livez", headers={"Host": host}).status_code == 200


def test_pages_of_other_sites_change_nothing(shared: Served) -> None:
    for headers in (
        {"Origin": "http://evil.example"}, {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://127.0.0.1:1"},
    ):  # fmt: skip
        refused = shared.client.post("/trigger_async?scenario=scope", headers=headers)
        problem(refused, 403, "cross-site")
    own = {"Origin": shared.url, "Sec-Fetch-Site": "same-origin"}
    assert shared.client.post("/trigger_async?scenario=scope", headers=own).status_code == 202
    preflight = shared.client.options("/runs", headers={"Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in preflight.headers


def test_answers_carry_the_headers_that_keep_them_harmless(served: Served) -> None:
    # What no version of ours has written: an error that no handler knows.
    served.cli.query(
        "INSERT INTO aexp.runs (run_id, scenario, target, parameters, facts, application_version)"
        " VALUES ('odd', 'scope', 'scope', '[]', '{}', 'run-odd')"
    )
    problem(served.client.get("/runs"), 500, "internal")
    log = served.log.read_text()
    assert log.count('"severity": "ERROR"') == log.count("service.request_failed") == 1
    assert (
        'aexp_requests_total{method="GET",status="500"} 1.0' in served.client.get("/metrics").text
    )
    for path in ("/runs", "/nowhere", "/livez"):
        headers = served.client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


def test_a_body_that_is_too_large_is_refused_however_it_comes(shared: Served) -> None:
    large = b'{"parameters": {"x": "' + b"a" * 1024 * 1024 + b'"}}'
    headers = {"content-type": "application/json"}
    announced = shared.client.post("/trigger_sync?scenario=scope", content=large, headers=headers)
    problem(announced, 413, "too-large")

    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    head = (
        f"POST /trigger_sync?scenario=scope HTTP/1.1\r\nHost: 127.0.0.1:{shared.port}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    answer = raw(shared, head.encode(), chunk * 17)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"urn:aexp:problem:too-large" in answer

    huge = f"POST /shutdown HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {'9' * 30}\r\n\r\n"
    answer = raw(shared, huge.encode())
    assert answer.startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 400 "))
    long_head = b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    # As it comes in whole, or in parts.
    assert raw(shared, long_head).startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
    assert raw(shared, b"no HTTP at all\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    # Probes need no token: nothing of a body is waited for.
    for field in (b"Content-Length: 1", b"Transfer-Encoding: chunked"):
        probe = b"POST /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n" + field + b"\r\n\r\n"
        assert raw(shared, probe).startswith(b"HTTP/1.1 413 ")
    assert shared.client.get("/livez").status_code == 200
    assert "Traceback" not in shared.log.read_text()


def test_a_client_that_is_slow_is_let_go(cli: Cli) -> None:
    with serving(cli, "--request-deadline", "0.5") as served:
        # Says nothing; says half a head; says half a body; and after an answer nothing more.
        assert raw(served) == b""
        assert raw(served, b"GET /livez HTTP/1.1\r\nHost: ") == b""
        head = (
            f"POST /trigger_sync?scenario=scope HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
            "Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{"
        )
        answer = raw(served, head.encode())
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"urn:aexp:problem:too-slow" in answer
        idle = raw(served, f"GET /livez HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n\r\n".encode())
        assert idle.startswith(b"HTTP/1.1 200 ")
        # An answer that takes longer than the deadline is no client's fault.
        assert served.client.post("/trigger_sync?scenario=scope", json={}).status_code == 200
        assert served.cli.query("SELECT count(*) FROM aexp.runs") == [(1,)]


@pytest.mark.asyncio
async def test_a_client_that_reads_nothing_is_let_go_and_a_quiet_answer_goes_on() -> None:
    options = ServiceOptions(
        settings=Settings(),
        url=DatabaseUrl.parse("postgresql://127.0.0.1/none"),
        hosts=None,
        max_active_runs=1,
        send_deadline_s=0.2,
    )
    began, let_go = anyio.Event(), anyio.Event()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def parts() -> AsyncIterator[bytes]:
            if scope["path"] == "/quiet":
                yield b"one"
                began.set()
                # Longer than the deadline: the other client is let go for nothing else.
                await let_go.wait()
                yield b"two"
                return
            while True:
                yield bytes(65536)

        try:
            await StreamingResponse(parts())(scope, receive, send)
        finally:
            if scope["path"] == "/endless":
                let_go.set()

    gate = Gate(answer, Service(options, {}))
    config = uvicorn.Config(gate, lifespan="off", log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with listen("127.0.0.1", 0) as listening, anyio.fail_after(TIMEOUT_S):
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, [listening])
            async with (
                httpx.AsyncClient(base_url=address(listening), trust_env=False) as client,
                client.stream("GET", "/quiet", timeout=TIMEOUT_S) as quiet,
            ):
                await began.wait()
                async with await anyio.connect_tcp(*listening.getsockname()) as reader:
                    await reader.send(b"GET /endless HTTP/1.1\r\nHost: here\r\n\r\n")
                    await let_go.wait()
                assert await quiet.aread() == b"onetwo"
            server.should_exit = True


def test_inputs_are_refused_without_a_root(shared: Served) -> None:
    runs = shared.count("aexp.runs")
    (shared.cli.folder / "in.jsonl").write_text('{"a": 1}\n')
    for name in ("in.jsonl", str(shared.cli.folder / "in.jsonl"), "/etc/passwd", "/nope"):
        body = {"parameters": {"input": name}}
        problem(shared.client.post("/scenarios/resume/runs", json=body), 403, "forbidden-parameter")
    for url in ("/etc", "file:///etc", "FILE:///etc", "file:/etc", "s3://bucket/x", "etc"):
        body = {"parameters": {"url": url}}
        problem(
            shared.client.post("/scenarios/objects/runs", json=body), 403, "forbidden-parameter"
        )
    body = {"parameters": {"token_url": "http://169.254.169.254/latest"}}
    problem(
        shared.client.post("/scenarios/credentials/runs", json=body), 403, "forbidden-parameter"
    )
    assert shared.count("aexp.runs") == runs


@pytest.mark.nightly
def test_inputs_lie_below_the_root_whatever_they_are_called(cli: Cli, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "in.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    (tmp_path / "secret.jsonl").write_text('{"secret": 1}\n')
    (tmp_path / "root-of-another").mkdir()
    (tmp_path / "root-of-another" / "in.jsonl").write_text('{"secret": 1}\n')
    (root / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    (root / "out").symlink_to(tmp_path)
    (root / "within.jsonl").symlink_to(root / "in.jsonl")
    (root / "loop").symlink_to(root / "loop")
    os.mkfifo(root / "pipe")
    with serving(cli, "--input-root", str(root)) as served:

        def ask(name: str) -> httpx.Response:
            return served.client.post(
                "/trigger_sync?scenario=resume", json={"parameters": {"input": name}}
            )

        for name in (
            "../secret.jsonl", "sub/../../secret.jsonl", "link.jsonl", "out/secret.jsonl",
            str(tmp_path / "secret.jsonl"), "/etc/passwd", "/proc/self/environ", "pipe",
            f"{root}-of-another/in.jsonl", f"{root}/../secret.jsonl", "a" * 5000,
        ):  # fmt: skip
            problem(ask(name), 403, "forbidden-parameter")
        # From Python 3.13 on a loop of links is found only when it is read.
        assert ask("loop").status_code in {403, 422}
        problem(ask("nope.jsonl"), 422, "bad-input")
        problem(ask("sub"), 422, "bad-input")
        for name in ("in.jsonl", "sub/../in.jsonl", str(root / "in.jsonl"), "within.jsonl"):
            answer = ask(name)
            assert answer.status_code == 200, answer.text
            assert answer.json()["parameters"]["input"] == str(root / "in.jsonl")
            assert answer.json()["report"]["account"]["messages"]["once"] == 2

        def catalogue(url: str) -> httpx.Response:
            return served.client.post(
                "/trigger_sync?scenario=objects", json={"parameters": {"url": url}}
            )

        problem(catalogue("out"), 403, "forbidden-parameter")
        problem(catalogue("file:///etc"), 403, "forbidden-parameter")
        problem(catalogue((root / "..").as_uri()), 403, "forbidden-parameter")
        problem(catalogue(root.as_uri() + "/%2e%2e"), 403, "forbidden-parameter")
        problem(catalogue("s3://bucket/x"), 403, "forbidden-parameter")
        assert catalogue("memory:").status_code == 200
        (root / "sub" / "object").write_text("x")
        # A link within the folder that is named leads no further.
        (root / "sub" / "out").symlink_to(tmp_path)
        for url in ("sub", (root / "sub").as_uri()):
            run = catalogue(url).json()
            assert run["parameters"]["url"] == (root / "sub").as_uri()
            assert run["report"]["account"]["objects"]["catalogued"] == 1
