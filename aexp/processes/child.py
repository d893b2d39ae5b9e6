"""Processes that :mod:`aexp.processes.forkserver` forks, as their parent sees them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
from anyio.streams.buffered import BufferedByteReceiveStream

from aexp.errors import AexpError
from aexp.settings import user_environment

__all__ = ["Child", "ForkServer", "ForkServerFailed", "open_forkserver"]

_LINE_LIMIT = 1024 * 1024
_CLOSE_TIMEOUT_S = 5.0


class ForkServerFailed(AexpError):
    """The process that forks others has ended on its own, and what it forked with it."""

    def __init__(self) -> None:
        super().__init__(
            "the process that starts workers has ended on its own: what it said stands above"
        )


@dataclass(slots=True)
class Child:
    """A process, living or dead.

    ``code`` is None while it lives, else its exit code, negative for a signal; ``lost`` says that
    nobody can tell how it ended, since the server has ended before it. ``stdout`` and ``stderr``
    are descriptors to read from, None where a file takes what it writes. Its standard input ends
    when its parent does, or has closed it.
    """

    pid: int
    stdin: int | None
    stdout: int | None
    stderr: int | None
    code: int | None = None
    lost: bool = False
    ended: anyio.Event = field(default_factory=anyio.Event)

    def kill(self) -> None:
        """Kill it and the processes that it has started (SIGKILL); do nothing when it has ended."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it alone to end (SIGTERM); do nothing when it has ended."""
        if self.code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def stop(self) -> None:
        """Stop it likewise (SIGSTOP): it stands still, with all that it holds."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on, likewise (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.code is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    async def wait(self) -> int:
        """Return its exit code, when it has ended. Raises ForkServerFailed for one that is lost."""
        await self.ended.wait()
        if self.lost:
            raise ForkServerFailed
        assert self.code is not None
        return self.code

    def end(self, code: int, *, lost: bool = False) -> None:
        """Note how it has ended."""
        self.code, self.lost = code, lost
        self._close("stdin")
        self.ended.set()

    def close(self) -> None:
        """Close its streams, of which there are none when a file took what it wrote."""
        for name in ("stdin", "stdout", "stderr"):
            self._close(name)

    def _close(self, name: str) -> None:
        if (stream := getattr(self, name)) is not None:
            setattr(self, name, None)
            os.close(stream)


@dataclass(slots=True)
class ForkServer:
    """One process that forks, and what it told of its children."""

    process: anyio.abc.Process
    orders: socket.socket
    _ready: anyio.Event = field(default_factory=anyio.Event)
    _failed: bool = False
    _alive: dict[int, Child] = field(default_factory=dict)
    _ordered: dict[int, _Ordered] = field(default_factory=dict)
    _numbers: count[int] = field(default_factory=lambda: count(1))
    _sending: anyio.Lock = field(default_factory=anyio.Lock)

    async def start(
        self,
        function: str,
        payload: Mapping[str, Any],
        *,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
        drains: bool = False,
    ) -> Child:
        """Fork a process that calls ``function``, ``module:name``, with ``payload`` of JSON values.

        What the function returns is its exit code. ``log`` takes what it writes, else it is read
        from the child's ``stdout`` and ``stderr``. Whoever starts it without a
        ``log`` closes the child. One that ``drains`` is not killed when this process ends without
        a word: its standard input ends, and then it does. Raises ForkServerFailed.
        """
        await self._ready.wait()
        number = next(self._numbers)
        order = {
            "order": number,
            "function": function,
            "payload": payload,
            "environment": dict(environment or {}),
            "drains": drains,
        }
        with ExitStack() as theirs:
            streams, ours = _streams(log, theirs)
            ordered = self._ordered[number] = _Ordered(ours)
            if self._failed:
                ordered.forget()
                raise ForkServerFailed
            # That nobody reads it any more is what `listen` is about to find.
            async with self._sending:
                with suppress(BrokenPipeError):
                    await anyio.to_thread.run_sync(_send, self.orders, order, streams)
        await ordered.known.wait()
        if ordered.child is None:
            raise ForkServerFailed
        return ordered.child

    async def listen(self) -> None:
        """Take what it tells, until it ends."""
        assert self.process.stdout is not None
        lines = BufferedByteReceiveStream(self.process.stdout)
        while True:
            try:
                message = json.loads(await lines.receive_until(b"\n", _LINE_LIMIT))
            except (anyio.EndOfStream, anyio.IncompleteRead):
                break
            if "ready" in message:
                self._ready.set()
            elif "order" in message:
                self._alive[message["pid"]] = self._ordered.pop(message["order"]).begin(
                    message["pid"]
                )
            else:
                self._alive.pop(message["pid"]).end(message["code"])
        self._fail()

    def _fail(self) -> None:
        """End all now, since nobody hears of an end any more."""
        self._failed = True
        for child in self._alive.values():
            child.kill()
            child.end(-signal.SIGKILL, lost=True)
        for ordered in self._ordered.values():
            ordered.forget()
        self._alive.clear()
        self._ordered.clear()
        self._ready.set()

    async def close(self) -> None:
        """End it. The end of its input makes it kill what it has forked, but for what drains."""
        self.orders.close()
        if not self._ready.is_set():
            # It imports, and has forked nothing.
            self.process.kill()
        with anyio.move_on_after(_CLOSE_TIMEOUT_S) as waiting:
            await self.process.wait()
        if waiting.cancelled_caught:
            self.process.kill()
            await self.process.wait()
        for child in self._alive.values():
            child.kill()
        await self.process.aclose()


@dataclass(slots=True)
class _Ordered:
    """A process that is ordered, and our ends of its streams."""

    streams: tuple[int, int | None, int | None]
    known: anyio.Event = field(default_factory=anyio.Event)
    child: Child | None = None

    def begin(self, pid: int) -> Child:
        self.child = Child(pid, *self.streams)
        self.known.set()
        return self.child

    def forget(self) -> None:
        Child(0, *self.streams).close()
        self.known.set()


def _streams(
    log: Path | None, theirs: ExitStack
) -> tuple[list[int], tuple[int, int | None, int | None]]:
    """Make the standard streams of a new process: its ends, which ``theirs`` closes, and ours."""

    def lent(descriptor: int) -> int:
        theirs.callback(os.close, descriptor)
        return descriptor

    reading, stdin = os.pipe()
    if log is not None:
        file = lent(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        return [lent(reading), file, file], (stdin, None, None)
    stdout, written = os.pipe()
    stderr, complained = os.pipe()
    return [lent(reading), lent(written), lent(complained)], (stdin, stdout, stderr)


def _send(to: socket.socket, order: Mapping[str, Any], streams: list[int]) -> None:
    line = json.dumps(order).encode() + b"\n"
    # The descriptors go with the first byte that is sent.
    sent = socket.send_fds(to, [line], streams)
    to.sendall(line[sent:])


@asynccontextmanager
async def open_forkserver(
    prepare: str,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> AsyncIterator[ForkServer]:
    """Start a process that forks others, for the life of the context.

    It calls ``prepare`` (``module:name``) with ``arguments`` first, which imports what they need.
    No process of it is left when the context ends, nor its ``folder`` when it was killed.
    """
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            process = await anyio.open_process(
                # Safe path: the working folder is the user's, and what lies there must not take
                # the place of the standard library.
                [
                    sys.executable, "-P", "-m", "aexp.processes.forkserver",
                    str(folder or ""), prepare, *arguments,
                ],
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,
                stderr=None,
                start_new_session=True,
                env=user_environment(environment or {}),
            )  # fmt: skip
    except BaseException:
        ours.close()
        raise
    server = ForkServer(process, ours)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(server.listen)
            yield server
            group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await server.close()
