"""Object stores by their URL: a folder, a bucket of S3's API, or samples in memory.

A listing is read in ranges of keys, ``after < key <= last`` in the order of their code points,
which is S3's. Every request has a deadline, and whatever goes wrong is a BadInput that says in one
line what to do, without what the store or the environment know of credentials.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

import anyio
import anyio.to_thread
import obstore
from obstore.store import LocalStore, MemoryStore, S3Store

from aexp.errors import BadInput
from aexp.scenarios.objects.store_errors import explained

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

__all__ = [
    "MEMORY",
    "Entry",
    "Store",
    "leads_out",
    "normal_url",
    "open_store",
    "sample_objects",
]

MEMORY = "memory:"
# What S3 gives for one request.
REQUEST_SIZE = 1000
SAMPLES = 1500

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_T = TypeVar("_T")


class Entry(NamedTuple):
    """An object as its store lists it; ``size`` in bytes."""

    key: str
    size: int
    modified: datetime
    etag: str | None


def normal_url(given: str) -> str:
    """Return ``given`` as a URL that means the same from any working folder: ``memory:``,
    ``s3://BUCKET[/PREFIX]``, or ``file:///FOLDER``, also from a plain path.

    Raises ValueError with what is wrong. Looks at nothing outside the text.
    """
    if given.rstrip("/") == MEMORY:
        return MEMORY
    scheme = _SCHEME.match(given)
    if scheme is None:
        if not given:
            raise ValueError("name a folder, s3://BUCKET/PREFIX, or memory:")
        return Path(given).absolute().as_uri()
    if scheme[0].lower() == "file:":
        parts = urlsplit(given)
        if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
            raise ValueError("write a folder as file:///ABSOLUTE/PATH, or as a plain path")
        if parts.query or parts.fragment:
            raise ValueError("write '?' and '#' in the name of a folder as %3F and %23")
        return Path(unquote(parts.path)).as_uri()
    if scheme[0].lower() != "s3:":
        raise ValueError(
            f"the scheme {scheme[0]!r} is not known: give a folder (file:///…),"
            " s3://BUCKET/PREFIX, or memory:"
        )
    bucket, prefix = _bucket_and_prefix(given)
    if not given[3:].startswith("//") or not bucket:
        raise ValueError("name the bucket: s3://BUCKET/PREFIX")
    if not _BUCKET.fullmatch(bucket):
        raise ValueError(f"{bucket!r} cannot be the name of a bucket")
    if any(part in {"", ".", ".."} for part in prefix.split("/")) and prefix:
        raise ValueError("the prefix has an empty part, '.' or '..'")
    return f"s3://{bucket}/{prefix}".rstrip("/")


def _bucket_and_prefix(url: str) -> tuple[str, str]:
    bucket, _, prefix = url[len("s3://") :].partition("/")
    return bucket, prefix.removesuffix("/")


def sample_objects() -> Iterator[tuple[str, int]]:
    """Yield the keys and sizes of what ``memory:`` holds, the same in each process."""
    kinds = ("archive/2023", "archive/2024", "images", "logs/web", "notes")
    for number in range(SAMPLES):
        yield f"{kinds[number % len(kinds)]}/object-{number:04}", number * 7 % 1009


@dataclass(frozen=True, slots=True)
class Store:
    """An open store. ``folder`` is where it lies, if it is a folder."""

    url: str
    client: ObjectStore
    exclude: Sequence[str]
    deadline_s: float
    folder: Path | None = None

    async def count(self) -> int | None:
        """Count the objects; None when there are more than one request tells."""
        count = 0
        async with aclosing(self.listing()) as batches:
            async for batch in batches:
                count += len(batch)
                if count >= REQUEST_SIZE:
                    return None
        return count

    async def keys(self) -> list[str]:
        """Return all keys in order, each once."""
        found: set[str] = set()
        async for batch in self.listing():
            found.update(entry.key for entry in batch)
        return sorted(found)

    async def page(self, after: str | None, last: str) -> list[Entry]:
        """Return the objects with ``after < key <= last``, in order, each once.

        From a bucket only this range is requested. Of a folder all directories are read that can
        hold a key of the range: one with very many files is read for each page of it.
        """
        found: dict[str, Entry] = {}
        async for batch in self.listing(after, last):
            for entry in batch:
                if (after is None or entry.key > after) and entry.key <= last:
                    found.setdefault(entry.key, entry)
        return [found[key] for key in sorted(found)]

    async def listing(
        self, after: str | None = None, last: str | None = None
    ) -> AsyncGenerator[list[Entry]]:
        """Yield what is listed, by request and in no order; at least that of the range given."""
        batches = self._walk(after, last) if self.folder is not None else self._scan(after, last)
        async with aclosing(batches):
            async for batch in batches:
                yield [_entry(meta) for meta in batch if not self._is_excluded(meta["path"])]

    async def _walk(
        self, after: str | None, last: str | None
    ) -> AsyncGenerator[Sequence[ObjectMeta]]:
        # An offset listing of a folder reads the whole of it for each page.
        assert self.folder is not None
        await anyio.to_thread.run_sync(_check_folder, self.folder)
        pending: list[str | None] = [None]
        while pending:
            below = pending.pop()
            found = await self._request(obstore.list_with_delimiter_async(self.client, below))
            strays = await anyio.to_thread.run_sync(_strays, self.folder, below)
            pending += [
                prefix
                for prefix in found["common_prefixes"]
                if prefix not in strays
                and not self._is_excluded(prefix)
                and _may_hold(prefix, after, last)
            ]
            yield [meta for meta in found["objects"] if meta["path"] not in strays]

    async def _scan(
        self, after: str | None, last: str | None
    ) -> AsyncGenerator[Sequence[ObjectMeta]]:
        stream = obstore.list(self.client, offset=after, chunk_size=REQUEST_SIZE)
        while batch := await self._request(_next(stream)):
            yield batch
            # The marker of a folder, "a/", is listed as "a", but stands behind "a-b" and "a.b".
            if last is not None and batch[-1]["path"] > last + "/":
                return

    async def _request(self, request: Awaitable[_T]) -> _T:
        with explained(self.url, self.deadline_s), anyio.fail_after(self.deadline_s):
            return await request

    def _is_excluded(self, key: str) -> bool:
        return any(key == prefix or key.startswith(prefix + "/") for prefix in self.exclude)


async def _next(stream: obstore.ListStream[Sequence[ObjectMeta]]) -> Sequence[ObjectMeta]:
    """Return the next objects; none at the end."""
    # anext() with a default does not take this iterator's futures.
    try:
        return await stream.__anext__()
    except StopAsyncIteration:
        return ()


def _entry(meta: ObjectMeta) -> Entry:
    return Entry(meta["path"], meta["size"], meta["last_modified"], meta["e_tag"])


def _may_hold(prefix: str, after: str | None, last: str | None) -> bool:
    """Return whether a key below the directory ``prefix`` can be in the range."""
    # "0" is the character behind "/": below it are all keys that begin with the directory.
    return (last is None or prefix + "/" <= last) and (after is None or prefix + "0" > after)


async def open_store(url: str, exclude: Sequence[str], deadline_s: float) -> Store:
    """Open the store at a normal URL. A bucket is not asked for anything yet; its credentials and
    endpoint are AWS_* of the environment. Raises BadInput.

    ``exclude`` are prefixes, by whole parts of keys, that are left out.
    """
    exclude = [prefix.strip("/") for prefix in exclude]
    folder: Path | None = None
    opening: Callable[[], ObjectStore]
    if url == MEMORY:
        opening = _samples
    elif url.startswith("s3:"):
        opening = partial(_bucket, url, deadline_s)
    else:
        folder = Path(unquote(urlsplit(url).path))
        opening = partial(_folder, folder)
    with explained(url, deadline_s):
        client: ObjectStore = await anyio.to_thread.run_sync(opening)
    return Store(url, client, exclude, deadline_s, folder)


def _folder(folder: Path) -> LocalStore:
    _check_folder(folder)
    return LocalStore(folder)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise BadInput(f"{folder} {what}: name one that holds the objects")


def _strays(folder: Path, below: str | None) -> frozenset[str]:
    """Return the keys in the directory ``below`` that are links out of ``folder``, which the client
    would follow: whoever may name a folder may not read another one through it.
    """
    prefix = f"{below}/" if below is not None else ""
    try:
        with os.scandir(folder / prefix) as entries:
            return frozenset(prefix + entry.name for entry in entries if leads_out(entry, folder))
    except FileNotFoundError:
        # It has gone since it was listed.
        return frozenset()


def leads_out(entry: os.DirEntry[str], folder: Path) -> bool:
    """Return whether ``entry``, which is below ``folder``, is a link to something that is not."""
    if not entry.is_symlink():
        return False
    # Unlike Path.resolve, it raises nothing at a loop of links.
    real, root = os.path.realpath(entry.path), os.path.realpath(folder)
    return not Path(real).is_relative_to(root)


def _samples() -> MemoryStore:
    store = MemoryStore()
    for key, size in sample_objects():
        store.put(key, bytes(size))
    return store


def _bucket(url: str, deadline_s: float) -> S3Store:
    for name in _ENDPOINTS:
        # The client reads them itself, but panics at what is no URL.
        if (endpoint := os.environ.get(name)) and not _is_http(endpoint):
            raise BadInput(f"{name} is no URL that begins with http:// or https:// and a host")
    bucket, prefix = _bucket_and_prefix(url)
    deadline = timedelta(seconds=deadline_s)
    return S3Store(
        bucket,
        prefix=prefix or None,
        client_options={"allow_http": True, "connect_timeout": deadline, "timeout": deadline},
        # Failures of a moment; what lasts longer, a page is retried for.
        retry_config={
            "max_retries": 2,
            "retry_timeout": deadline,
            "backoff": {
                "init_backoff": timedelta(milliseconds=50),
                "max_backoff": timedelta(seconds=1),
                "base": 2,
            },
        },
    )


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises when it is no number
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and " " not in url
