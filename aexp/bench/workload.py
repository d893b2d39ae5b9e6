"""What is measured: a workload, its variants, and the comparisons that are made of them.

A *cell* is one variant of a workload, carried out once, in a process of its own on a database of
its own. Its function prepares, warms up, does the measured part inside :meth:`Cell.measured`, and
then counts in the database what was done:

    async def run(cell: Cell) -> Counted:
        async with open_runtime(cell.settings, cell.url, scope="bench", …):
            await publish(10)                       # warm-up
            with cell.measured():
                await publish(cell.size["messages"])
            return Counted(units=cell.size["messages"], anomalies=await check(cell))
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from aexp.database import DatabaseUrl
from aexp.settings import Settings

__all__ = [
    "Cell",
    "Comparison",
    "Counted",
    "Curve",
    "CurvePoint",
    "Loop",
    "Size",
    "Variant",
    "Workload",
]

Loop = Literal["uvloop", "asyncio"]
# How much there is to do: JSON values by name, such as {"messages": 1000, "latency_s": 0.1}.
Size = Mapping[str, Any]


class Cell(Protocol):
    """What a variant's function is given.

    ``url`` is a migrated database (schemas ``dbos`` and ``aexp``) that no other cell has had.
    ``settings`` are aexp's, with that database and the variant's loop.
    """

    @property
    def url(self) -> DatabaseUrl: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def size(self) -> Size: ...

    def measured(self) -> AbstractContextManager[None]:
        """Measure what is done in the context: time, processor, memory, threads, the loop's lag.

        Entered exactly once, with a process that is idle: DBOS launched, warmed up, nothing under
        way. Memory "above idle" is above what the process has at that moment.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What a cell came to.

    ``units`` of work done, as the workload calls them, counted in the database and not believed.
    ``anomalies`` say in a line each what is wrong: missing, doubled, altered. A cell that has any
    is no result. ``figures`` are of the cell's own making, such as {"first_step_s": 0.31}, besides
    those that every cell has (see Comparison). The end of a name says what it is: ``_s`` and
    ``_ms`` a time, ``_per_s`` a rate; on a busy machine both would have been better.
    """

    units: int
    anomalies: Sequence[str] = ()
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Where a variant stands in the workload's curve: on the line ``series`` at ``x``, a number or
    what the variant's size has under this name.
    """

    series: str
    x: float | str

    def at(self, size: Size) -> float:
        """Return x for a cell of this size."""
        return float(size[self.x] if isinstance(self.x, str) else self.x)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """How the variants that have a point are drawn: ``figure`` against what ``x`` says in words.

    ``relative`` draws it as a multiple of each series's first point. ``limit`` is a variant that is
    drawn as a line across. For each of ``grows`` the power of x that the figure grows with is
    fitted, and ``most`` is the target for it: cost for a unit of work that grows with n^0.1 makes
    n units cost n^1.1.
    """

    x: str
    figure: str
    log_x: bool = True
    log_y: bool = False
    relative: bool = False
    limit: str | None = None
    grows: Sequence[str] = ()
    most: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to do the work.

    With ``loop`` None ``run`` is an ordinary function, called in the main thread of a process
    without an event loop; else it is a coroutine function, run on a loop of that kind. ``size``
    is what this variant has more or otherwise than the workload's own size, ``quick_size`` the same
    with --quick (None: as ``size``). A variant that is not ``in_quick`` is left out then.
    """

    name: str
    run: Callable[[Cell], Counted] | Callable[[Cell], Awaitable[Counted]]
    loop: Loop | None
    size: Size = field(default_factory=dict)
    quick_size: Size | None = None
    in_quick: bool = True
    point: CurvePoint | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A figure of ``variant``, set against the same figure of variant ``against``.

    The two are paired within a round, as a ratio or as a ``difference``; with ``against`` None it
    is a plain value. ``least`` and ``most`` are the target, in the same terms; without them it is
    only reported. ``reason`` is what stands in the way of the target, as far as it was measured: it
    is told wherever the target is not met.

    Every cell has the figures ``rate`` (units a second), ``wall_s``, ``wall_ms`` (a unit),
    ``cpu_ms`` (processor time of the process and its children, a unit), ``memory_mib`` (peak),
    ``memory_above_idle_mib``, ``threads`` (peak, of the process alone), on a loop ``lag_p50_ms``,
    ``lag_p99_ms``, ``lag_max_ms``, and where PostgreSQL runs on this machine ``server_cpu_ms`` (its
    processor time, a unit); ``figure`` may also be one of the cell's own.
    """

    figure: str
    variant: str
    against: str | None = None
    difference: bool = False
    least: float | None = None
    most: float | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.difference and self.against is None:
            raise ValueError("a difference is one to another variant")

    @property
    def how(self) -> Literal["ratio", "difference", "value"]:
        """What is set against the target."""
        if self.against is None:
            return "value"
        return "difference" if self.difference else "ratio"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Work that can be done in several ways.

    ``unit`` is what is counted ("message"); ``size`` and ``quick_size`` how much there is, without
    and with --quick. ``headline`` is the figure that tells most about it. ``timeout_s`` is far
    above what a cell takes: one that takes longer is killed and is no result.
    """

    name: str
    summary: str
    unit: str
    variants: Sequence[Variant]
    comparisons: Sequence[Comparison]
    size: Size
    quick_size: Size
    headline: str = "rate"
    curve: Curve | None = None
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        names = [variant.name for variant in self.variants]
        if len(set(names)) != len(names):
            raise ValueError(f"workload {self.name}: two variants of one name")
        for comparison in self.comparisons:
            self._check_known(comparison.variant, comparison.against)
        if self.curve is not None:
            self._check_known(self.curve.limit)

    def _check_known(self, *names: str | None) -> None:
        known = {None, *(variant.name for variant in self.variants)}
        for name in names:
            if name not in known:
                raise ValueError(f"workload {self.name}: no variant {name!r} to compare")

    def sized(self, variant: Variant, *, quick: bool) -> Size:
        """Return the size that a cell of ``variant`` is given."""
        own = variant.size
        if quick and variant.quick_size is not None:
            own = variant.quick_size
        return {**(self.quick_size if quick else self.size), **own}
