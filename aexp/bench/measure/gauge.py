"""What a process uses while it does the measured part: time, processor, memory, threads.

Processor time is that of the process and all that it starts, living and dead. What the rest of the
machine did at the same time is measured too: on a busy machine a figure says less.
"""

from __future__ import annotations

import gc
import os
import resource
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import psutil

from aexp.durable.offload import available_cores
from aexp.processes.loop_lag import LagMonitor, quantile

__all__ = ["Gauge", "Measurement", "tree_cpu_s"]

_SAMPLE_S = 0.02
# Finding a process's children means looking at all processes there are.
_CHILDREN_S = 1.0
_MIB = 2**20
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What the measured part took.

    ``cpu_s`` is user and system time of the process and its children. Memory is resident, in MiB:
    ``idle_mib`` when the part began, ``peak_mib`` the most in it, children included; ``threads``
    are the most of the process alone. Both are looked at every 20 ms. ``lag_ms`` are quantiles of
    the loop's lag; None without a loop. ``others`` is the share of the machine's processor time, 0
    to 1, that was taken by what is neither this process nor PostgreSQL; ``server_cpu_s`` is what
    PostgreSQL took, None where it runs elsewhere.
    """

    wall_s: float
    cpu_s: float
    idle_mib: float
    peak_mib: float
    threads: int
    lag_ms: Mapping[str, float] | None
    others: float
    server_cpu_s: float | None

    def as_json(self) -> dict[str, Any]:
        """Return the measurement as JSON values."""
        return asdict(self)

    def figures(self, units: int) -> dict[str, float]:
        """Return the figures that every cell has, see aexp.bench.workload.Comparison."""
        lag = self.lag_ms or {}
        return {
            "rate": units / self.wall_s,
            "wall_s": self.wall_s,
            "wall_ms": 1000 * self.wall_s / units,
            "cpu_ms": 1000 * self.cpu_s / units,
            "memory_mib": self.peak_mib,
            "memory_above_idle_mib": self.peak_mib - self.idle_mib,
            "threads": float(self.threads),
            **(
                {"server_cpu_ms": 1000 * self.server_cpu_s / units}
                if self.server_cpu_s is not None
                else {}
            ),
            **{f"lag_{name}_ms": value for name, value in lag.items()},
        }


class Gauge:
    """Measures the one part of this process that :meth:`measuring` encloses.

    ``server_pid`` is PostgreSQL's first process, None when it runs elsewhere.
    """

    def __init__(self, server_pid: int | None, lag: LagMonitor | None) -> None:
        self._server_pid = server_pid
        self._lag = lag
        self._done: Measurement | None = None
        self._entered = False

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Measure what is done in the context; may be entered once."""
        if self._entered:
            raise RuntimeError("a cell has one measured part, and it has been measured already")
        self._entered = True
        # So that no cell pays for what another variant's warm-up left behind.
        gc.collect()
        sampler = _Sampler()
        idle_mib = sampler.sample()
        before = self._machine()
        # What it takes to look for children is left out of both.
        began_children = _children_cpu_s()
        with sampler.sampling():
            began_cpu, began = time.process_time(), time.perf_counter()
            if self._lag is None:
                yield
            else:
                with self._lag.measuring():
                    yield
            wall_s = time.perf_counter() - began
            cpu_s = time.process_time() - began_cpu - sampler.cpu_s
        cpu_s += _children_cpu_s() - began_children
        after = self._machine()
        self._done = Measurement(
            wall_s=wall_s,
            cpu_s=cpu_s,
            idle_mib=idle_mib,
            peak_mib=sampler.peak_mib,
            threads=sampler.threads,
            lag_ms=None,
            others=_others(before, after, available_cores()),
            server_cpu_s=(
                after.server_s - before.server_s if self._server_pid is not None else None
            ),
        )

    def _machine(self) -> _Machine:
        server_s = tree_cpu_s(self._server_pid) if self._server_pid is not None else 0.0
        roots = [os.getpid(), *([self._server_pid] if self._server_pid is not None else [])]
        return _Machine(
            clock=time.perf_counter(),
            busy_s=_busy_s(),
            own_s=tree_cpu_s(os.getpid()),
            server_s=server_s,
            processes=sum(_processes(root) for root in roots),
        )

    def measurement(self) -> Measurement:
        """Return what was measured. Raises RuntimeError when nothing was."""
        if self._done is None:
            raise RuntimeError("the workload measured nothing: it must enter cell.measured()")
        if self._lag is None:
            return self._done
        # Only now: a tick that was due in the part may have come to be run after it.
        ticks = self._lag.histogram()
        named = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        found = {name: quantile(ticks, share) for name, share in named.items()}
        lag_ms = {name: value for name, value in found.items() if value is not None}
        return replace(self._done, lag_ms=lag_ms)


@dataclass(frozen=True, slots=True)
class _Machine:
    """Seconds until now: of the clock, of all processors, of this process, and of PostgreSQL; and
    how many processes these two are.
    """

    clock: float
    busy_s: float
    own_s: float
    server_s: float
    processes: int


def _children_cpu_s() -> float:
    """Sum the processor time of all that this process has started, living and dead, in seconds."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    living = sum(tree_cpu_s(child.pid) for child in psutil.Process().children())
    return ended.ru_utime + ended.ru_stime + living


def _others(before: _Machine, after: _Machine, cores: int) -> float:
    """Return the share of the machine that nobody but others can have used.

    Of each process Linux tells whole ticks, in user and in system mode: up to one of each it may
    have used besides.
    """
    ours = after.own_s + after.server_s - before.own_s - before.server_s
    untold = 2 * _TICK_S * max(before.processes, after.processes)
    used = after.busy_s - before.busy_s - ours - untold
    return min(1.0, max(0.0, used / (cores * (after.clock - before.clock))))


def _processes(pid: int) -> int:
    """Count a process and all that it has started."""
    with suppress(psutil.NoSuchProcess):
        return 1 + len(psutil.Process(pid).children(recursive=True))
    return 0


def _busy_s() -> float:
    """Return the seconds that our processors were not idle, since the machine started.

    What a hypervisor gave to others counts as busy.
    """
    times = psutil.cpu_times(percpu=True)
    if hasattr(os, "sched_getaffinity"):
        times = [times[core] for core in os.sched_getaffinity(0) if core < len(times)]
    # A guest's time stands under user as well.
    idle = ("idle", "iowait", "guest", "guest_nice")
    return float(
        sum(value for core in times for name, value in core._asdict().items() if name not in idle)
    )


def tree_cpu_s(pid: int) -> float:
    """Sum the seconds of processor of a process and all it has started; they never go back."""
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                total += times.user + times.system
                # Of those that have ended and been waited for; Linux tells it of every process.
                total += getattr(times, "children_user", 0) + getattr(times, "children_system", 0)
    return total


class _Sampler:
    """Peak memory of this process and its children, and peak threads of its own."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._children: list[psutil.Process] = []
        self._looked = -_CHILDREN_S
        self._stop = threading.Event()
        self.peak_mib = 0.0
        self.threads = 0
        # What looking took until now.
        self.cpu_s = 0.0

    def sample(self) -> float:
        """Look once; resident memory now, in MiB."""
        now = time.monotonic()
        if now - self._looked >= _CHILDREN_S:
            self._children, self._looked = self._process.children(recursive=True), now
        with self._process.oneshot():
            resident = self._process.memory_info().rss
            # Without the sampler's own.
            self.threads = max(self.threads, self._process.num_threads() - 1)
        for child in self._children:
            with suppress(psutil.NoSuchProcess):
                resident += child.memory_info().rss
        self.peak_mib = max(self.peak_mib, resident / _MIB)
        return resident / _MIB

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Look again and again while the context lives, and at its end."""
        thread = threading.Thread(target=self._run, name="aexp-bench-sampler")
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_SAMPLE_S):
            self.sample()
            self.cpu_s = time.thread_time()
        self.sample()
