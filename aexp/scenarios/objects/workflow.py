"""``objects``: catalogue an object store page by page, each page a workflow on a limited queue.

The plan cuts the sorted keys into pages and checkpoints their boundaries, nothing else. Each page
then lists its own range of keys and writes a row for every object, exactly once. The client of the
store lives in the process; what travels in the inputs of workflows are names: keys and page
numbers.
"""

from __future__ import annotations

import os
import re
import sysconfig
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from dbos import DBOS, DBOSConfiguredInstance
from pydantic import Field, field_validator, model_validator

from aexp.database.connect import Connection
from aexp.durable import ledger
from aexp.durable.exactly_once import Transaction, exactly_once
from aexp.durable.fan_out import fan_out
from aexp.engine.runtime import Queue, Runtime, current_runtime
from aexp.errors import BadInput
from aexp.model.parameters import NAMES_PLACE, Parameters
from aexp.model.run import Run
from aexp.model.scenario import Scenario
from aexp.processes.progress import Reached
from aexp.scenarios.objects.evidence import gather
from aexp.scenarios.objects.promises import PROMISES, account
from aexp.scenarios.objects.stores import Entry, Store, normal_url, open_store

__all__ = ["SCENARIO", "Cataloguer", "ObjectsParameters"]

QUEUE = "page_queue"
# Where the standard library's folder holds what is none of it.
NO_STANDARD_LIBRARY = ("dist-packages", "site-packages")
# Without a size of page: so many pages, of no more than a request of S3 gives.
PAGES = 20
LARGEST_PAGE = 1000

_COLUMNS = ("run_id", "page", "key", "size", "modified", "etag", "pid")

log = structlog.stdlib.get_logger("aexp.objects")


class ObjectsParameters(Parameters):
    """What to catalogue and how fast.

    Credentials and endpoint of a bucket are no parameters, which are recorded: AWS_* of the
    environment.
    """

    url: str | None = Field(
        None,
        description="a folder (file:///… or a path), s3://BUCKET/PREFIX, or memory: for samples;"
        " without it the folder of Python's standard library",
        json_schema_extra=NAMES_PLACE,
    )
    exclude: tuple[str, ...] = Field(
        (), description="prefixes of keys to leave out, by whole parts; with commas between them"
    )
    page: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description=f"objects to a page; without it a {PAGES}th of all, at most {LARGEST_PAGE}",
    )
    concurrency: int = Field(10, ge=1, le=1000, description="pages at a time")
    starts: int = Field(50, ge=1, le=100_000, description="pages begun in a period at most")
    period_s: float = Field(10.0, ge=0.1, le=86_400, description="how long a period is")
    deadline_s: float = Field(
        10.0, ge=0.01, le=3600, description="how long a request to the store may take"
    )

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        url, exclude = given.get("url"), given.get("exclude") or ()
        if isinstance(exclude, str):
            exclude = [prefix for prefix in exclude.split(",") if prefix]
        if url is None:
            url = Path(sysconfig.get_path("stdlib")).as_uri()
            if isinstance(exclude, Sequence):
                exclude = [*exclude, *NO_STANDARD_LIBRARY]
        elif isinstance(url, str) and "@" in url.partition("://")[2].partition("/")[0]:
            # Not as an error of the field, which would show its value.
            raise ValueError(
                "credentials do not belong in url, which is recorded: set AWS_ACCESS_KEY_ID and"
                " AWS_SECRET_ACCESS_KEY"
            )
        return {**given, "url": url, "exclude": exclude}

    @field_validator("url")
    @classmethod
    def _from_anywhere(cls, value: str | None) -> str | None:
        # The run may be resumed from another working folder.
        return normal_url(value) if value is not None else None

    async def open(self) -> Store:
        """Open the store in this process; raises BadInput."""
        assert self.url is not None
        return await open_store(self.url, self.exclude, self.deadline_s)


def page_size(page: int | None, objects: int) -> int:
    """Return how many objects a page has when there are so many, if ``page`` does not say."""
    return page or min(max(1, -(-objects // PAGES)), LARGEST_PAGE)


class Page(NamedTuple):
    """A page: ``objects`` keys with ``after < key <= last``; None is before every key."""

    after: str | None
    last: str
    objects: int


@DBOS.dbos_class("objects.Cataloguer")
class Cataloguer(DBOSConfiguredInstance):
    """Writes the objects of a store to ``aexp.objects``.

    ``store`` is opened anew in each process, before a workflow can run there.
    """

    def __init__(self, name: str) -> None:
        super().__init__(config_name=name)
        self.store: Store | None = None

    def opened(self) -> Store:
        """Return the store, which is open while workflows run."""
        assert self.store is not None
        return self.store

    @DBOS.workflow(name="objects.catalogue")
    async def catalogue(self, **given: Any) -> Mapping[str, Any]:
        """Catalogue every object; what still failed after its retries is listed.

        Takes the fields of ObjectsParameters. Returns ``{"catalogued", "pages", "skipped",
        "failed"}``: objects, pages, objects that were gone when their page was read, and a list of
        ``{"page", "after", "last", "objects", "error"}``. Raises BadInput when every page failed.
        """
        run_id = str(DBOS.workflow_id)
        planned = await DBOS.run_step_async({"name": "plan"}, self._plan, run_id, given["page"])
        pages = [Page(*fields) for fields in planned]
        outcomes = await fan_out(
            self.list_page, _arguments(run_id, pages), queue=QUEUE, return_exceptions=True
        )
        catalogued = skipped = 0
        failed = []
        for number, (page, outcome) in enumerate(zip(pages, outcomes, strict=True)):
            if isinstance(outcome, Exception):
                failed.append({"page": number, **page._asdict(), "error": str(outcome)})
                log.error("objects.page_failed", page=number, error=str(outcome))
            else:
                catalogued += outcome["catalogued"]
                skipped += outcome["skipped"]
        if pages and len(failed) == len(pages):
            raise BadInput(f"none of {len(pages)} pages could be listed: {failed[0]['error']}")
        log.info("objects.run_ended", catalogued=catalogued, failed=len(failed))
        return {
            "catalogued": catalogued,
            "pages": len(pages),
            "skipped": skipped,
            "failed": failed,
        }

    async def _plan(self, run_id: str, page: int | None) -> list[tuple[str | None, str, int]]:
        """Plan the pages as plain tuples: this is checkpointed once and read on each recovery."""
        keys = await self.opened().keys()
        pages = _cut(keys, page_size(page, len(keys)))
        runtime = current_runtime()
        await ledger.record_event(
            runtime, run_id, "objects.planned", {"objects": len(keys), "pages": len(pages)}
        )
        runtime.progress.begin(total=len(keys))
        log.info("objects.planned", objects=len(keys), pages=len(pages))
        return pages

    @DBOS.workflow(name="objects.list_page")
    async def list_page(
        self, run_id: str, number: int, after: str | None, last: str, objects: int
    ) -> Mapping[str, int]:
        """List one page and write its rows.

        Returns ``{"catalogued", "skipped"}``. Objects that have appeared in the page's range since
        the plan are catalogued too; by how many there are fewer than planned, so many are skipped.
        Raises BadInput when the store still fails at the third attempt.
        """
        runtime, store = current_runtime(), self.opened()
        written: list[int] = []

        async def copy(transaction: Transaction) -> int:
            await ledger.record_body(runtime, run_id, "list")
            entries = await store.page(after, last)
            connection = await transaction.connection()
            await connection.copy_records_to_table(
                "objects",
                schema_name="aexp",
                columns=_COLUMNS,
                records=_records(run_id, number, entries),
            )
            written[:] = [len(entries)]
            return len(entries)

        catalogued = await exactly_once(runtime, "list", copy, retry_on=BadInput)
        # What was replayed from its checkpoint is counted already.
        runtime.progress.advance(sum(written))
        return {"catalogued": catalogued, "skipped": max(0, objects - catalogued)}


def _cut(keys: Sequence[str], size: int) -> list[tuple[str | None, str, int]]:
    """Cut ``keys`` into pages of ``size``, by their boundaries."""
    pages: list[tuple[str | None, str, int]] = []
    for first in range(0, len(keys), size):
        end = min(first + size, len(keys))
        pages.append((keys[first - 1] if first else None, keys[end - 1], end - first))
    return pages


def _records(run_id: str, number: int, entries: Sequence[Entry]) -> Iterator[tuple[Any, ...]]:
    pid = os.getpid()
    for entry in entries:
        yield (run_id, number, *entry, pid)


def _arguments(run_id: str, pages: Sequence[Page]) -> Iterator[Mapping[str, Any]]:
    for number, page in enumerate(pages):
        yield {"run_id": run_id, "number": number, **page._asdict()}


cataloguer = Cataloguer("cataloguer")


async def _resources(_runtime: Runtime, run: Run) -> AsyncIterator[None]:
    """Open the store."""
    cataloguer.store = await ObjectsParameters.model_validate(run.parameters).open()
    try:
        yield
    finally:
        cataloguer.store = None


async def _reached(connection: Connection, run: Run) -> Reached:
    """Return how far a run has come of the objects that were planned, if they are."""
    row = await connection.fetchrow(
        "SELECT (SELECT count(*) FROM aexp.objects WHERE run_id = $1) AS done,"
        " (SELECT (data->>'objects')::bigint FROM aexp.events"
        "  WHERE run_id = $1 AND event = 'objects.planned'"
        "  ORDER BY happened_at DESC LIMIT 1) AS planned",
        run.run_id,
    )
    assert row is not None
    return Reached(row["done"], row["planned"])


async def _facts(parameters: ObjectsParameters) -> Mapping[str, Any]:
    """Note when the store was looked at, by this machine's clock, and how many objects it has if
    one request tells that: a store that cannot be listed is bad input, and no run begins.
    """
    probed_at = datetime.now(UTC).isoformat()
    objects = await (await parameters.open()).count()
    # In a bucket there are no folders: a prefix without objects is none, or it is misspelt.
    if objects == 0 and re.match(r"s3://[^/]+/", str(parameters.url)):
        raise BadInput(f"there is no object below {parameters.url}/: check the prefix")
    return {"probed_at": probed_at, "objects": objects}


def _steps(parameters: ObjectsParameters, facts: Mapping[str, Any]) -> int:
    # Plan, enqueue and collect beside one step for each page; where nobody has counted the
    # objects, as many pages as there are at least.
    objects = facts["objects"] if facts["objects"] is not None else LARGEST_PAGE
    return 3 + -(-objects // page_size(parameters.page, objects))


SCENARIO = Scenario(
    name="objects",
    summary="Catalogue an object store page by page on a rate-limited queue, each object once.",
    workflow=cataloguer.catalogue,
    parameters=ObjectsParameters,
    queues=lambda parameters: [
        Queue(
            name=QUEUE,
            global_concurrency=parameters.concurrency,
            limiter=(parameters.starts, parameters.period_s),
        )
    ],
    resources=_resources,
    reached=_reached,
    facts=_facts,
    steps=_steps,
    gather=gather,
    promises=PROMISES,
    account=account,
)
