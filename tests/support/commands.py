"""``python -m aexp`` as processes that are forked from one which has imported it already.

Interpreter and imports take most of a second of a processor, for each of a thousand commands. What
is forked is a process like any other, with a pid, signals and an end of its own, and does what
``aexp.__main__`` does from there on.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing import connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

from aexp.cli.forked import be_command

__all__ = ["start"]

# What commands import sooner or later. Those that begin threads are left to each command.
_PRELOADED = (
    "aexp.__main__",
    "aexp.cli.actions.bench",
    "aexp.cli.commands.bench",
    "aexp.cli.commands.crash",
    "aexp.cli.commands.db",
    "aexp.cli.commands.determinism",
    "aexp.cli.commands.run",
    "aexp.cli.commands.serve",
    "aexp.cli.commands.show",
    "aexp.cli.commands.upgrade",
    "aexp.cli.commands.worker",
    "aexp.cli.actions.crash",
    "aexp.cli.actions.db",
    "aexp.cli.actions.report",
    "aexp.cli.actions.run",
    "aexp.cli.actions.serve",
    "aexp.cli.actions.show",
    "aexp.cli.actions.worker",
    "aexp.scenarios.fibonacci.workflow",
    "aexp.scenarios.resume.workflow",
    "aexp.service.server",
    "psycopg",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "uvloop",
)
# Read by the interpreter and the C library before any code runs.
_READ_AT_START = ("PYTHON", "LANG", "LC_", "LD_")


def start(
    arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], stderr: Any
) -> subprocess.Popen[str]:
    """Start ``aexp ARGUMENTS`` in ``folder`` and return at once; its stdout is a pipe.

    With variables of its own for the interpreter it is one that is started, not forked.
    """
    own = {name: value for name, value in environment.items() if os.environ.get(name) != value}
    kind = subprocess.Popen if any(name.startswith(_READ_AT_START) for name in own) else _Forked
    return kind(
        # As the console command is: without the working folder on the path.
        [sys.executable, "-P", "-m", "aexp", *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


@dataclass(frozen=True)
class _Stream:
    """An open file that goes to another process when it is pickled on its way there."""

    descriptor: int

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (DupFd(self.descriptor),)


def _arrived(sent: Any) -> int:
    descriptor: int = sent.detach()
    return descriptor


class _Forked(subprocess.Popen[str]):
    """What is forked in place of ``python -P -m aexp ARGUMENTS``.

    Three methods of Popen's own, which POSIX gives it, are all that forking is about: to start, to
    look how it ended, and to wait for that.
    """

    _process: ForkServerProcess

    def _execute_child(
        self,
        args: Sequence[str],
        _executable: Any,
        _preexec: Any,
        _close: Any,
        _pass: Any,
        cwd: Path,
        env: Mapping[str, str],
        _startup: Any,
        _creation: Any,
        _shell: Any,
        *rest: Any,
    ) -> None:
        pipes = rest[:6]
        stdin, _, _, stdout, _, stderr = pipes
        self._process = _server().Process(
            target=_become_command,
            args=(args[4:], cwd, dict(env), _path(), *map(_Stream, (stdin, stdout, stderr))),
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _internal_poll(self, _deadstate: Any = None) -> int | None:
        if self.returncode is None:
            self.returncode = self._process.exitcode
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        if self._internal_poll() is None and not connection.wait([self._process.sentinel], timeout):
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        code = self._internal_poll()
        assert code is not None
        return code


@cache
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    return context


@cache
def _path() -> Sequence[str]:
    """Where a command that is started would look for modules."""
    program = "import sys; print('\\n'.join(sys.path))"
    told = subprocess.run(
        [sys.executable, "-P", "-c", program], check=True, capture_output=True, text=True
    )
    return told.stdout.splitlines()


def _become_command(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    path: Sequence[str],
    *streams: int,
) -> None:
    """Be the command, to the end of this process."""
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = (
        io.TextIOWrapper(open(number, mode, closefd=False), line_buffering=number == 2)  # noqa: SIM115
        for number, mode in enumerate(("rb", "wb", "wb"))
    )
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = path
    be_command({"arguments": arguments})
