"""A listing of an object store that owes nothing to the catalogue it is compared with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import anyio.to_thread

from aexp.errors import BadInput
from aexp.model.promise import SAMPLE
from aexp.scenarios.objects.stores import MEMORY, leads_out, open_store, sample_objects

__all__ = ["CensusComparison", "Listed", "take_census"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# S3 tells the second in which an object was modified, and cuts off the rest.
_S3_RESOLUTION = timedelta(seconds=1)


class Listed(NamedTuple):
    """An object as the census found it; None is what its store does not tell.

    ``untouched_since`` is a time after which nobody has made or modified it.
    """

    size: int
    modified: datetime | None
    etag: str | None
    untouched_since: datetime | None


async def take_census(parameters: Mapping[str, Any]) -> Mapping[str, Listed]:
    """List the objects of the store that a run's ``parameters`` name, by key; raises BadInput.

    A folder is read by the operating system's own calls and not through the client, a bucket by a
    fresh client from its beginning to its end.
    """
    url, exclude = parameters["url"], parameters["exclude"]
    if url == MEMORY:
        return {
            key: Listed(size, None, None, None)
            for key, size in sample_objects()
            if not _is_excluded(key, exclude)
        }
    if not url.startswith("s3:"):
        folder = Path(unquote(urlsplit(url).path))
        try:
            return await anyio.to_thread.run_sync(
                lambda: dict(_files(folder, str(folder), "", exclude, frozenset()))
            )
        except OSError as error:
            raise BadInput(f"cannot read {folder}: {error.strerror}") from error
    store = await open_store(url, exclude, parameters["deadline_s"])
    found: dict[str, Listed] = {}
    async for batch in store.listing():
        for key, size, modified, etag in batch:
            found.setdefault(key, Listed(size, modified, etag, modified + _S3_RESOLUTION))
    return found


def _is_excluded(key: str, exclude: Sequence[str]) -> bool:
    parts = key.split("/")
    return any(parts[: len(cut)] == cut for cut in (p.strip("/").split("/") for p in exclude))


def _files(
    root: Path,
    folder: str,
    prefix: str,
    exclude: Sequence[str],
    above: frozenset[tuple[int, int]],
) -> Iterator[tuple[str, Listed]]:
    """Yield what lies below ``folder``, through links too; links that lead nowhere or out of
    ``root`` are left out.
    """
    here = os.stat(folder)  # noqa: PTH116 - as the entries below, by text
    if (here.st_dev, here.st_ino) in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            key = prefix + entry.name
            if _is_excluded(key, exclude) or _is_partial_upload(entry.name):
                continue
            if leads_out(entry, root):
                continue
            try:
                status = entry.stat()
                if entry.is_dir():
                    nested = above | {(here.st_dev, here.st_ino)}
                    yield from _files(root, entry.path, key + "/", exclude, nested)
                    continue
            except FileNotFoundError:
                continue
            yield (
                key,
                Listed(
                    status.st_size,
                    _time(status.st_mtime_ns),
                    None,
                    # What is moved here keeps its time of modification, and is new all the same.
                    _time(max(status.st_mtime_ns, status.st_ctime_ns)),
                ),
            )


def _is_partial_upload(name: str) -> bool:
    """Return whether obstore takes a file for a partial upload of its own, "NAME#7"."""
    number = name.partition("#")[2]
    return number.isascii() and number.isdigit()


def _time(ns: int) -> datetime:
    return _EPOCH + ns // 1000 * _MICROSECOND


@dataclass(slots=True)
class CensusComparison:
    """A catalogue against a census, a row at a time and then what no row was seen of.

    What was touched at or after ``probed_at`` was perhaps another object when its page was listed:
    it is counted, and no anomaly. ``altered`` and ``missing`` are samples.
    """

    census: Mapping[str, Listed]
    probed_at: datetime
    seen: set[str] = field(default_factory=set)
    gone_since: int = 0
    changed_since: int = 0
    appeared_since: int = 0
    altered_count: int = 0
    missing_count: int = 0
    altered: list[Mapping[str, Any]] = field(default_factory=list)
    missing: list[Mapping[str, Any]] = field(default_factory=list)

    def see(self, key: str, size: int, modified: datetime, etag: str | None) -> None:
        """Compare a row of the catalogue with the census."""
        self.seen.add(key)
        listed = self.census.get(key)
        if listed is None:
            self.gone_since += 1
            return
        catalogued = Listed(size, modified, etag, None)
        given = [name for name in ("size", "modified", "etag") if getattr(listed, name) is not None]
        wrong = [name for name in given if getattr(listed, name) != getattr(catalogued, name)]
        if not wrong:
            return
        if not self._is_old(listed):
            self.changed_since += 1
            return
        self.altered_count += 1
        if len(self.altered) < SAMPLE:
            row: dict[str, Any] = {"key": key}
            for name in wrong:
                row[name] = getattr(listed, name)
                row[f"catalogued_{name}"] = getattr(catalogued, name)
            self.altered.append(row)

    def end(self, is_excused: Callable[[str], bool]) -> None:
        """Finish when all rows were seen; ``is_excused`` says which keys were reported failed."""
        for key in sorted(self.census.keys() - self.seen):
            listed = self.census[key]
            if not self._is_old(listed):
                self.appeared_since += 1
            elif not is_excused(key):
                self.missing_count += 1
                if len(self.missing) < SAMPLE:
                    self.missing.append(
                        {"key": key, "size": listed.size, "modified": listed.modified}
                    )

    def _is_old(self, listed: Listed) -> bool:
        return listed.untouched_since is None or listed.untouched_since < self.probed_at
