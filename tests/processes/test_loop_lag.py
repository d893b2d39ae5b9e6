"""How late an event loop is, measured and told."""

from __future__ import annotations

import time

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aexp.processes.loop_lag import INTERVAL_S, LagMonitor, merged, quantile, tick
from tests.support.cli import eventually

delays = st.lists(
    st.sampled_from([0.1, 0.5, 1.0, 7.0, 49.0, 50.0, 120.0]), min_size=1, max_size=200
)


def counted(values: list[float]) -> dict[str, int]:
    return {f"{value:.2g}": values.count(value) for value in set(values)}


def ticks(monitor: LagMonitor) -> int:
    return sum(monitor.histogram().values())


def stall(*, ticks: int) -> None:
    """Keep the loop from running until so many ticks are due, by the clock that they are due by."""
    until = time.perf_counter() + ticks * INTERVAL_S
    while time.perf_counter() < until:
        pass


@given(delays, st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_the_least_delay_that_so_many_did_not_exceed(
    values: list[float], share: float
) -> None:
    found = quantile(counted(values), share)

    assert found is not None
    within = sum(value <= found for value in values) / len(values)
    below = sum(value < found for value in values) / len(values)
    assert within >= share > below


def test_without_ticks_there_is_no_quantile() -> None:
    assert quantile({}, 0.99) is None


@given(delays, delays)
def test_merged_histograms_are_those_of_all_ticks(first: list[float], second: list[float]) -> None:
    assert merged([counted(first), counted(second)]) == counted(first + second)


@pytest.mark.asyncio
async def test_a_stall_counts_with_every_tick_that_fell_into_it() -> None:
    stall_s = 20 * INTERVAL_S
    monitor = LagMonitor()
    async with anyio.create_task_group() as group:
        group.start_soon(monitor.tick)
        with monitor.measuring():
            await eventually(lambda: ticks(monitor) > 0, poll_s=INTERVAL_S)
            before = ticks(monitor)
            stall(ticks=20)
            await eventually(lambda: ticks(monitor) > before, poll_s=INTERVAL_S)
        group.cancel_scope.cancel()

    lag_ms = monitor.histogram()
    longest = quantile(lag_ms, 1.0)
    assert longest is not None
    assert longest >= (stall_s - 2 * INTERVAL_S) * 1000
    # One in each interval: half of them were late by half of the stall at least.
    assert sum(n for late, n in lag_ms.items() if float(late) >= stall_s * 500) >= 8
    assert monitor.measured_s >= stall_s


@pytest.mark.asyncio
async def test_nothing_is_counted_while_nobody_measures() -> None:
    monitor = LagMonitor()
    due_at: list[float] = []

    async def four_ticks_pass() -> None:
        seen = len(due_at)
        await eventually(lambda: len(due_at) >= seen + 4, poll_s=INTERVAL_S)

    async with anyio.create_task_group() as group:
        group.start_soon(monitor.tick)
        # Beside it, for what it does not count.
        group.start_soon(tick, INTERVAL_S, lambda due, _late_ms: due_at.append(due))
        await four_ticks_pass()
        stall(ticks=10)
        with monitor.measuring(), monitor.measuring():
            await eventually(lambda: ticks(monitor) >= 4, poll_s=INTERVAL_S)
        before = monitor.measured_s
        await four_ticks_pass()
        group.cancel_scope.cancel()

    assert monitor.measured_s == before
    assert 0 < ticks(monitor) <= before / INTERVAL_S + 1
