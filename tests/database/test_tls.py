"""Servers over TLS: what the URL says of it, each of the drivers does."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
import trustme
from sqlalchemy import text

from aexp.database import DatabaseUrl
from aexp.database.connect import asyncpg_engine, connected, psycopg_engine
from tests.support.cli import Cli
from tests.support.tls_proxy import TlsProxy, behind_tls

VERIFIED = "sslmode=verify-full&sslrootcert={authority}"
STRANGERS = "sslmode=verify-full&sslrootcert={stranger}"


@pytest.fixture
def proxy(database: DatabaseUrl, tmp_path: Path) -> Iterator[TlsProxy]:
    """The test's database behind TLS, as 127.0.0.1 and under no other name."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "stranger.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    folder = database.parsed.query["host"]
    with behind_tls(f"{folder}/.s.PGSQL.5432", context) as proxy:
        yield proxy


def address(
    database: DatabaseUrl, proxy: TlsProxy, folder: Path, query: str, host: str = "127.0.0.1"
) -> DatabaseUrl:
    query = query.format(authority=folder / "authority.pem", stranger=folder / "stranger.pem")
    user = database.parsed.username
    return DatabaseUrl.parse(f"postgresql://{user}@{host}:{proxy.port}/{database.name}?{query}")


async def by_asyncpg(url: DatabaseUrl) -> int:
    async with connected(url) as connection:
        return int(await connection.fetchval("SELECT 1"))


async def by_the_engine_of_the_datasource(url: DatabaseUrl) -> int:
    engine = asyncpg_engine(url, {})
    try:
        with anyio.fail_after(20):
            async with engine.connect() as connection:
                return int(await connection.scalar(text("SELECT 1")) or 0)
    finally:
        await engine.dispose()


async def by_psycopg(url: DatabaseUrl) -> int:
    def ask() -> int:
        engine = psycopg_engine(url)
        try:
            with engine.connect() as connection:
                return int(connection.scalar(text("SELECT 1")) or 0)
        finally:
            engine.dispose()

    return await anyio.to_thread.run_sync(ask)


DRIVERS = pytest.mark.parametrize("ask", [by_asyncpg, by_psycopg])


@pytest.mark.parametrize("ask", [by_asyncpg, by_psycopg, by_the_engine_of_the_datasource])
@pytest.mark.parametrize("query", [VERIFIED, "sslmode=require", "sslmode=prefer"])
def test_each_driver_encrypts(
    database: DatabaseUrl,
    proxy: TlsProxy,
    tmp_path: Path,
    ask: Callable[[DatabaseUrl], Awaitable[int]],
    query: str,
) -> None:
    assert anyio.run(ask, address(database, proxy, tmp_path, query)) == 1
    assert (proxy.encrypted, proxy.refused) == (1, 0)


@DRIVERS
@pytest.mark.parametrize(
    ("query", "host", "reason"),
    [
        (STRANGERS, "127.0.0.1", "certificate verify failed"),
        (VERIFIED, "localhost", "localhost|does not match"),
        ("sslmode=disable", "127.0.0.1", "no encryption"),
    ],
)
def test_each_driver_refuses_what_the_url_does_not_allow(
    database: DatabaseUrl,
    proxy: TlsProxy,
    tmp_path: Path,
    ask: Callable[[DatabaseUrl], Awaitable[int]],
    query: str,
    host: str,
    reason: str,
) -> None:
    url = address(database, proxy, tmp_path, query, host)
    with pytest.raises(Exception, match=reason):
        anyio.run(ask, url)
    assert proxy.refused == (1 if query == "sslmode=disable" else 0)


def test_a_run_over_tls_is_killed_and_ends(
    cli: Cli, database: DatabaseUrl, proxy: TlsProxy, tmp_path: Path
) -> None:
    cli.url = address(database, proxy, tmp_path, VERIFIED)
    ran = cli("run", "resume", "--kills", "1", "--json")
    assert ran.code == 0, ran.stderr
    assert ran.json["account"]["messages"]["once"] == 20
    assert proxy.encrypted > 0
    assert proxy.refused == 0


def test_a_certificate_of_a_stranger_is_an_error_of_one_line(
    cli: Cli, database: DatabaseUrl, proxy: TlsProxy, tmp_path: Path
) -> None:
    cli.url = address(database, proxy, tmp_path, STRANGERS)
    ran = cli("run", "resume")
    assert ran.code == 3
    assert "certificate verify failed" in ran.error
