"""``resume``: publish messages through a queue, be killed, resume, and account for every message.

A named :class:`Publisher` shares the messages out over channels and publishes them in chunks, each
a child workflow on a queue. It counts what it published twice in memory – on the instance and in
the module – as the programs of old did, and finds its counts again when a process starts.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anyio.to_thread
import structlog
from dbos import DBOS, DBOSConfiguredInstance
from pydantic import Field, field_validator, model_validator

from aexp.database.connect import Connection
from aexp.durable.fan_out import fan_out
from aexp.engine.runtime import Queue, Runtime, current_runtime
from aexp.errors import InputChanged
from aexp.model.parameters import Parameters
from aexp.model.run import Run
from aexp.model.scenario import Scenario
from aexp.processes.progress import Reached
from aexp.scenarios.resume.delivery import Batch, DeliveryMode, PublishRefused, deliver
from aexp.scenarios.resume.evidence import gather
from aexp.scenarios.resume.messages import (
    Chunk,
    fingerprint,
    read_chunk,
    scan_file,
    split_file,
    split_numbers,
)
from aexp.scenarios.resume.promises import PROMISES, account

__all__ = ["QUEUE", "SCENARIO", "Publisher", "ResumeParameters", "publisher"]

QUEUE = "publisher_queue"
# So many are made up in less time than it takes to hand them to a thread.
FEW_MESSAGES = 20

log = structlog.stdlib.get_logger("aexp.publisher")


class ResumeParameters(Parameters):
    """What to publish and how."""

    messages: int | None = Field(
        20, ge=1, le=100_000_000, description="how many numbered messages; without `input` only"
    )
    input: Path | None = Field(
        None, description="a JSON-lines file to publish instead, one object a line"
    )
    chunk: int = Field(1, ge=1, le=1_000_000, description="messages to a workflow")
    latency_s: float = Field(0.1, ge=0, le=3600, description="what the broker takes for a chunk")
    channels: int = Field(2, ge=1, le=1000, description="channels that messages take in turns")
    concurrency: int = Field(20, ge=1, le=1000, description="chunks at a time in one process")
    fail_rate: float = Field(
        0.0, ge=0, le=1, description="share of publish steps that the broker refuses"
    )
    delivery: DeliveryMode = Field(
        DeliveryMode.EXACTLY_ONCE, description="what is promised of each message"
    )

    @field_validator("input")
    @classmethod
    def _from_anywhere(cls, value: Path | None) -> Path | None:
        # The run may be resumed from another working folder.
        return value.absolute() if value is not None else None

    @model_validator(mode="before")
    @classmethod
    def _one_source(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        if given.get("input") is None:
            if "messages" in given and given["messages"] is None:
                raise ValueError("give messages, or an input")
            return given
        if given.get("messages") is not None:
            raise ValueError("messages and input exclude each other: give one of them")
        return {**given, "messages": None}

    @property
    def channel_names(self) -> Sequence[str]:
        """The channels, in the order in which the messages take them."""
        return [f"workflow{number + 1}" for number in range(self.channels)]


# Since the process started, by channel: the module's own count beside the instance's.
global_published_messages: dict[str, int] = {}


@DBOS.dbos_class("resume.Publisher")
class Publisher(DBOSConfiguredInstance):
    """Publishes messages and counts them by channel.

    The instance must be known before DBOS launches, since recovered workflows are given it by its
    name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(config_name=name)
        self.local_published_messages: dict[str, int] = {}
        # What the counter would say had it not been filled again: this process's own messages.
        self.published_by_this_process: dict[str, int] = {}

    def restore(self, durable: Mapping[str, int]) -> None:
        """Fill both counters from the durable rows."""
        self.local_published_messages = dict(durable)
        self.published_by_this_process = {}
        global_published_messages.clear()
        global_published_messages.update(durable)

    def count(self, published: Mapping[str, int]) -> None:
        """Add what was just published to both counters."""
        for counter in (
            self.local_published_messages,
            self.published_by_this_process,
            global_published_messages,
        ):
            for channel, messages in published.items():
                counter[channel] = counter.get(channel, 0) + messages
        current_runtime().progress.advance(sum(published.values()))

    def memory(self) -> Mapping[str, Any]:
        """Return what the counters say now."""
        return {
            "local_published_messages": dict(self.local_published_messages),
            "global_published_messages": dict(global_published_messages),
            "without_refill": dict(self.published_by_this_process),
        }

    @DBOS.workflow(name="resume.publish_messages")
    async def publish_messages(self, **given: Any) -> Mapping[str, Any]:
        """Publish every message through the queue; what still failed after its retries is listed.

        Takes the fields of ResumeParameters. Returns ``{"published", "failed"}``, the latter a
        list of ``{"first", "count", "error"}``.
        """
        parameters = ResumeParameters.model_validate(given)
        run_id = DBOS.workflow_id
        ranges = await DBOS.run_step_async({"name": "plan"}, self._plan, parameters)
        chunks = [Chunk(*fields) for fields in ranges]
        outcomes = await fan_out(
            self.publish_chunk,
            _arguments(run_id, given, chunks),
            queue=QUEUE,
            return_exceptions=True,
        )
        failed = []
        published = 0
        for chunk, outcome in zip(chunks, outcomes, strict=True):
            if isinstance(outcome, Exception):
                failed.append({"first": chunk.first, "count": chunk.count, "error": str(outcome)})
                log.error("publisher.chunk_failed", first=chunk.first, error=str(outcome))
            else:
                published += chunk.count
        log.info("publisher.run_ended", published=published, failed=len(failed))
        return {"published": published, "failed": failed}

    @staticmethod
    async def _plan(parameters: ResumeParameters) -> list[tuple[int, int, int, int]]:
        """Plan the chunks as plain tuples: this is checkpointed once and read on each recovery."""

        def split() -> list[tuple[int, int, int, int]]:
            chunks = (
                split_file(parameters.input, parameters.chunk)
                if parameters.input is not None
                else split_numbers(parameters.messages or 0, parameters.chunk)
            )
            return [(c.first, c.count, c.offset, c.length) for c in chunks]

        return await anyio.to_thread.run_sync(split)

    @DBOS.workflow(name="resume.publish_chunk")
    async def publish_chunk(
        self, run_id: str, given: Mapping[str, Any], chunk: Mapping[str, int]
    ) -> int:
        """Publish one chunk; the messages published. Its input carries offsets, not bodies."""
        parameters = ResumeParameters.model_validate(given)
        messages = Chunk(**chunk)

        async def load() -> list[str]:
            if parameters.input is None and messages.count <= FEW_MESSAGES:
                return read_chunk(None, messages)
            return await anyio.to_thread.run_sync(read_chunk, parameters.input, messages)

        batch = Batch(
            run_id=run_id,
            first=messages.first,
            channels=parameters.channel_names,
            load=load,
            latency_s=parameters.latency_s,
            refuse=_refusals(parameters.fail_rate, f"{run_id}:{messages.first}"),
        )
        await deliver(parameters.delivery)(current_runtime(), batch, self.count)
        log.info("publisher.chunk_published", first=messages.first, messages=messages.count)
        return messages.count


def _refusals(rate: float, seed: str) -> Callable[[int], None]:
    """Make what raises PublishRefused in ``rate`` of the attempts, by ``seed`` in the same ones."""

    def refuse(attempt: int) -> None:
        digest = hashlib.sha256(f"{seed}:{attempt}".encode()).digest()
        if int.from_bytes(digest[:8], "big") / 2**64 < rate:
            raise PublishRefused(f"the broker refused {seed} in attempt {attempt}")

    return refuse


def _arguments(
    run_id: str | None, given: Mapping[str, Any], chunks: list[Chunk]
) -> Iterator[Mapping[str, Any]]:
    for chunk in chunks:
        yield {"run_id": run_id, "given": given, "chunk": asdict(chunk)}


publisher = Publisher("publisher1")


async def _resources(runtime: Runtime, run: Run) -> AsyncIterator[None]:
    """Fill the counters again before a workflow can run."""
    rows = await runtime.database.pool.fetch(
        "SELECT channel, count(*) AS messages FROM aexp.publications"
        " WHERE run_id = $1 GROUP BY channel ORDER BY channel",
        run.run_id,
    )
    publisher.restore({row["channel"]: row["messages"] for row in rows})
    runtime.progress.remember(publisher.memory)
    yield


async def _reached(connection: Connection, run: Run) -> Reached:
    done = await connection.fetchval(
        "SELECT count(*) FROM aexp.publications WHERE run_id = $1", run.run_id
    )
    return Reached(done, run.facts["messages"])


async def _facts(parameters: ResumeParameters) -> Mapping[str, Any]:
    """Count the messages, and note what identifies the input file."""
    if parameters.input is None:
        return {"messages": parameters.messages}
    found = await anyio.to_thread.run_sync(scan_file, parameters.input)
    return {"messages": found.lines, "size": found.size, "sha256": found.sha256}


async def _check_facts(parameters: ResumeParameters, facts: Mapping[str, Any]) -> None:
    """Refuse an input file that is not the one that the run began with."""
    if parameters.input is None:
        return
    size, sha256 = await anyio.to_thread.run_sync(fingerprint, parameters.input)
    if (size, sha256) != (facts["size"], facts["sha256"]):
        raise InputChanged(
            f"input {parameters.input} has changed since the run began ({facts['size']} bytes"
            f" then, {size} now): restore it, or begin a new run"
        )


def _steps(parameters: ResumeParameters, facts: Mapping[str, Any]) -> int:
    # Plan, enqueue and collect beside one step for each chunk.
    return 3 + -(-int(facts["messages"]) // parameters.chunk)


SCENARIO = Scenario(
    name="resume",
    summary="Publish messages through a queue, be killed, resume, and account for every message.",
    workflow=publisher.publish_messages,
    parameters=ResumeParameters,
    queues=lambda parameters: [Queue(name=QUEUE, worker_concurrency=parameters.concurrency)],
    resources=_resources,
    facts=_facts,
    check_facts=_check_facts,
    reached=_reached,
    steps=_steps,
    gather=gather,
    promises=PROMISES,
    account=account,
    duplicates=lambda evidence: evidence.more_than_once,
)
