"""``resume``: from the start of a process to the first step of a workflow that another has left.

A process begins the workflow and is killed with SIGKILL; the next is timed, by the clock that all
processes of a machine share: ``first_step_s``. For *imports* it is the time until the interpreter
has imported what that process imports, and no step at all.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import psycopg

from aexp.bench.workload import Cell, Comparison, Counted, Variant, Workload
from aexp.bench.workloads.recovery import EVENT, RUN_ID
from aexp.engine.tables.workflows import STATUS_OF
from aexp.settings import user_environment

__all__ = ["RESUME"]

_MODULE = "aexp.bench.workloads.recovery"
_POLL_S = 0.002
_DEADLINE_S = 60.0

_BEGUN = """
    SELECT (data->>'at')::float8 FROM aexp.events WHERE event = %s AND pid = %s
    ORDER BY 1 OFFSET %s LIMIT 1
"""
_BODIES = "SELECT (data->>'step')::int FROM aexp.events WHERE event = %s"
_BODIES_OF = f"{_BODIES} AND pid = %s"


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-P", *arguments]


def _environment(cell: Cell) -> dict[str, str]:
    return user_environment({"AEXP_DATABASE_URL": cell.url.libpq})


@contextmanager
def _process(cell: Cell, arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process for the life of the context, and kill it when it lives on."""
    process = subprocess.Popen(  # noqa: S603 - our own interpreter
        _command(arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=_environment(cell),
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _await_step(
    connection: psycopg.Connection, process: subprocess.Popen[bytes], number: int
) -> float:
    """Wait until the process has begun its ``number``-th step, from 1 on; return when it did."""
    deadline = time.monotonic() + _DEADLINE_S
    while (row := connection.execute(_BEGUN, (EVENT, process.pid, number - 1)).fetchone()) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} came to no step {number}")
        time.sleep(_POLL_S)
    return float(row[0])


def _recover(cell: Cell, begin: Sequence[str], go_on: Sequence[str]) -> Counted:
    """Time the process ``go_on`` after the process ``begin`` was killed in mid-workflow."""
    steps = cell.size["steps"]
    with (
        ExitStack() as stack,
        psycopg.connect(cell.url.libpq, autocommit=True) as connection,
    ):
        with _process(cell, begin) as process:
            _await_step(connection, process, steps // 2)
        with cell.measured():
            began = time.monotonic()
            process = stack.enter_context(_process(cell, go_on))
            first = _await_step(connection, process, 1)
        process.wait(_DEADLINE_S)
        return Counted(
            units=1,
            anomalies=_wrong(connection, process.pid, steps),
            figures={"first_step_s": first - began},
        )


def _wrong(connection: psycopg.Connection, successor: int, steps: int) -> list[str]:
    """Say which of ``steps`` steps of a workflow were lost, and which were done although done."""
    (status,) = connection.execute(STATUS_OF, (RUN_ID,)).fetchone() or ("not there",)
    wrong = [] if status == "SUCCESS" else [f"the workflow is {status}"]
    bodies = Counter(row[0] for row in connection.execute(_BODIES, (EVENT,)))
    again = {row[0] for row in connection.execute(_BODIES_OF, (EVENT, successor))}
    wrong += [
        f"step {number} began {bodies[number]} times"
        for number in sorted({*bodies, *range(steps)})
        # Only the one that was under way at the kill may have begun twice.
        if number not in range(steps)
        or not 1 <= bodies[number] <= 1 + (number == min(again, default=None))
    ]
    return wrong


def resume_async(cell: Cell) -> Counted:
    """Run `aexp resume`. Size: ``steps``."""
    begin = ["-m", "aexp", "run", f"{_MODULE}:recover", "--run-id", RUN_ID]
    begin += ["--set", f"steps={cell.size['steps']}"]
    return _recover(cell, begin, ["-m", "aexp", "resume", RUN_ID])


def resume_by_default(cell: Cell) -> Counted:
    """Run DBOS's sync API with the settings that it has by itself. Size: ``steps``."""
    program = ["-m", _MODULE, str(cell.size["steps"])]
    return _recover(cell, program, program)


def _import_alone(cell: Cell, modules: str, before: str = "") -> Counted:
    source = f"{before}import time, {modules}; print(time.monotonic())"
    with cell.measured():
        began = time.monotonic()
        completed = subprocess.run(  # noqa: S603 - our own interpreter
            _command(["-c", source]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            env=_environment(cell),
        )
    return Counted(units=1, figures={"first_step_s": float(completed.stdout) - began})


def import_async(cell: Cell) -> Counted:
    """Import what `aexp resume` imports, as it does: without collecting garbage meanwhile."""
    return _import_alone(
        cell, f"aexp.cli.actions.run, {_MODULE}, uvloop", "import gc; gc.disable(); "
    )


def import_by_default(cell: Cell) -> Counted:
    """Import what the sync program imports."""
    return _import_alone(cell, _MODULE)


RESUME = Workload(
    name="resume",
    summary="from the start of a process to the first recovered step",
    unit="recovery",
    size={"steps": 10},
    quick_size={"steps": 10},
    headline="first_step_s",
    variants=[
        Variant(name="async", run=resume_async, loop=None),
        Variant(name="imports", run=import_async, loop=None),
        Variant(name="seed's settings", run=resume_by_default, loop=None, in_quick=False),
        Variant(name="seed's imports", run=import_by_default, loop=None, in_quick=False),
    ],
    comparisons=[
        Comparison(
            figure="first_step_s", variant="async", against="imports", difference=True, most=0.4
        ),
        Comparison(
            figure="first_step_s",
            variant="seed's settings",
            against="seed's imports",
            difference=True,
        ),
    ],
)
