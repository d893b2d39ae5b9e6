"""Workers that an explorer starts, kills and waits for: forked by processes of their own.

There are two of these, which differ in the order in which their sets iterate (``PYTHONHASHSEED``):
a process that follows a killed one finds strings hashed otherwise, as a restarted one would.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

from aexp.database import DatabaseUrl
from aexp.errors import AexpError
from aexp.runs import Run
from aexp.settings import Settings, user_environment

__all__ = ["Order", "Worker", "Workers", "open_workers"]

_LINE_LIMIT = 1024 * 1024
_HASH_SEEDS = 2


class ForksFailed(AexpError):
    """The process that forks workers has ended on its own, and its workers with it."""

    def __init__(self) -> None:
        super().__init__(
            "the process that starts workers has ended on its own: what it said stands above"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a worker is to do: work on ``run`` with this ``url`` as its only way to the database.

    ``folder`` takes what it writes, ``log`` its log lines, ``bodies`` a note of each step body that
    begins. Without ``instances`` it forgets every configured instance before it launches DBOS.
    """

    run: Run
    settings: Settings
    url: DatabaseUrl
    folder: Path
    log: Path
    bodies: Path
    instances: bool = True

    def as_json(self) -> dict[str, Any]:
        """As :func:`aexp.crash.worker.live` reads it."""
        run = {name: value for name, value in asdict(self.run).items() if name != "created_at"}
        chosen = {"executor_id", "loop", "log_level", "debug", "poll_interval_s"}
        settings = self.settings.model_dump(mode="json", include=chosen)
        return {
            "run": run,
            # A file of log lines is read by people only.
            "settings": {**settings, "log_format": "console"},
            "url": self.url.libpq,
            "log": str(self.log),
            "bodies": str(self.bodies),
            "instances": self.instances,
            "environment": {
                "AEXP_DATABASE_URL": self.url.libpq,
                "DBOS_SYSTEM_DATABASE_URL": self.url.libpq,
                # What it leaves in files lasts from life to life of a point, and touches no other.
                "TMPDIR": str(self.folder),
            },
        }


@dataclass(slots=True)
class Worker:
    """A living or dead worker. ``code`` is None while it lives, else its exit code, negative for a
    signal; ``lost`` says that nobody can tell how it ended: what forked it has ended before it."""

    pid: int
    code: int | None = None
    lost: bool = False
    ended: anyio.Event = field(default_factory=anyio.Event)

    def kill(self) -> None:
        """SIGKILL, to it and to the processes that it has started; nothing when it has ended."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """SIGSTOP, likewise: it stands still, with all that it holds."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT, likewise."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.code is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def lose(self) -> None:
        """Nobody hears of its end any more, so that end is now."""
        self.kill()
        self.lost, self.code = True, -signal.SIGKILL
        self.ended.set()

    async def wait(self) -> int:
        """Its exit code, when it has ended. Raises ForksFailed when that says nothing of it."""
        await self.ended.wait()
        if self.lost:
            raise ForksFailed
        assert self.code is not None
        return self.code


@dataclass(slots=True)
class _Forks:
    """One process that forks, and what it told of its workers."""

    process: anyio.abc.Process
    ready: anyio.Event = field(default_factory=anyio.Event)
    failed: bool = False
    workers: dict[int, Worker] = field(default_factory=dict)
    started: dict[int, anyio.Event] = field(default_factory=dict)
    by_order: dict[int, Worker] = field(default_factory=dict)

    async def listen(self) -> None:
        """Take what it tells, until it ends."""
        assert self.process.stdout is not None
        lines = BufferedByteReceiveStream(self.process.stdout)
        while True:
            try:
                told = json.loads(await lines.receive_until(b"\n", _LINE_LIMIT))
            except (anyio.EndOfStream, anyio.IncompleteRead):
                break
            if "ready" in told:
                self.ready.set()
            elif "order" in told:
                worker = self.workers[told["pid"]] = Worker(told["pid"])
                self.by_order[told["order"]] = worker
                self.started[told["order"]].set()
            else:
                worker = self.workers.pop(told["pid"])
                worker.code = told["code"]
                worker.ended.set()
        self.failed = True
        for worker in self.workers.values():
            worker.lose()
        for event in (self.ready, *self.started.values()):
            event.set()

    async def start(self, number: int, order: Order) -> Worker:
        await self.ready.wait()
        self.started[number] = anyio.Event()
        assert self.process.stdin is not None
        if not self.failed:
            line = json.dumps({"order": number, **order.as_json()})
            # That nobody reads it any more is what `listen` is about to find.
            with suppress(anyio.BrokenResourceError):
                await self.process.stdin.send(line.encode() + b"\n")
            await self.started[number].wait()
        if self.failed:
            raise ForksFailed
        del self.started[number]
        return self.by_order.pop(number)


class Workers:
    """Starts workers. ``folder`` is for what they write; it goes when they do."""

    def __init__(self, forks: Sequence[_Forks], folder: Path) -> None:
        self._forks = forks
        self.folder = folder
        self._numbers = count(1)

    async def start(self, order: Order, life: int) -> Worker:
        """Start the worker of the ``life``-th life, 0 being the first, on a run."""
        forks = self._forks[life % len(self._forks)]
        return await forks.start(next(self._numbers), order)


@asynccontextmanager
async def open_workers(target: str, *, seed: int) -> AsyncIterator[Workers]:
    """Start the processes that fork workers for ``target``; all are gone when the context ends."""
    forks: list[_Forks] = []
    folder = Path(tempfile.mkdtemp(prefix="aexp-crash-"))
    try:
        for number in range(_HASH_SEEDS):
            hash_seed = (_HASH_SEEDS * seed + number) % 2**32
            opened = await _open_forks(target, folder, hash_seed)
            forks.append(_Forks(opened))
        async with anyio.create_task_group() as group:
            for each in forks:
                group.start_soon(each.listen)
            yield Workers(forks, folder)
            group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            for each in forks:
                await _close_forks(each)
        shutil.rmtree(folder, ignore_errors=True)


async def _open_forks(target: str, folder: Path, hash_seed: int) -> anyio.abc.Process:
    return await anyio.open_process(
        # See aexp.supervisor on the safe path.
        [sys.executable, "-P", "-m", "aexp.crash.forks", target, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None,
        start_new_session=True,
        env=user_environment({"PYTHONHASHSEED": str(hash_seed)}),
    )


async def _close_forks(forks: _Forks) -> None:
    """The end of its stdin makes it kill what it has forked, and end."""
    assert forks.process.stdin is not None
    await forks.process.stdin.aclose()
    with anyio.move_on_after(5) as waiting:
        await forks.process.wait()
    if waiting.cancelled_caught:
        forks.process.kill()
        await forks.process.wait()
    for worker in forks.workers.values():
        worker.kill()
    await forks.process.aclose()
