"""A database with a table of items, and a proxy before it that notes every write."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from aexp.crash.proxy.server import Proxy
from aexp.database import DatabaseUrl
from tests.support.proxied import Recorder, in_its_own_task, proxied, with_items


@pytest.fixture
def url(empty_database: DatabaseUrl) -> DatabaseUrl:
    return with_items(empty_database)


@pytest_asyncio.fixture
async def recorder() -> Recorder:
    return Recorder()


@pytest_asyncio.fixture
async def proxy(url: DatabaseUrl, recorder: Recorder) -> AsyncIterator[Proxy]:
    async with in_its_own_task(proxied(url, recorder, run_id="w")) as proxy:
        yield proxy
