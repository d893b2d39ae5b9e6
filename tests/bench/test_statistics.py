"""What is concluded from rounds, on samples whose answers are known."""

from __future__ import annotations

import random
import statistics
import threading
import time
from dataclasses import replace

import pytest

from aexp.bench.analysis.outlook import outlook
from aexp.bench.analysis.result import CellResult, Compared, Growth, compare
from aexp.bench.analysis.statistics import Bounded, Estimate, Fit, coverage, estimate, fit_exponent
from aexp.bench.measure.gauge import Gauge, _Machine, _others
from aexp.bench.workload import Comparison


def cell(variant: str, round_no: int, *, others: float = 0.0, **figures: float) -> CellResult:
    return CellResult(
        workload="w",
        variant=variant,
        round_no=round_no,
        size={},
        units=1,
        figures=figures,
        measured={"others": others},
    )


def exactly(*values: float) -> list[Bounded]:
    return [Bounded(value, value, value) for value in values]


def test_the_median_and_its_interval_are_of_the_sample() -> None:
    found = estimate(exactly(3.0, 1.0, 2.0, 5.0, 4.0))
    # All five values on one side have a probability of 0.0625: the interval is the whole range.
    assert (found.median, found.low, found.high) == (3.0, 1.0, 5.0)
    assert estimate(exactly(3.0, 1.0, 2.0, 5.0, 4.0)) == found
    assert estimate(exactly(7.0)) == Estimate(median=7.0, low=7.0, high=7.0, rounds=1)


def test_few_rounds_are_not_trusted_more_than_they_can_be() -> None:
    confidence = [estimate(exactly(*range(rounds))).confidence for rounds in (1, 3, 5, 7, 20)]
    assert confidence == [0, 0.75, 0.9375, 0.984375, pytest.approx(0.9586, abs=1e-4)]
    # One place further in, seven values hold their median too seldom.
    assert coverage(7, 2) == 0.875


@pytest.mark.parametrize("rounds", [5, 7, 13, 21])
def test_the_interval_covers_the_true_median_as_often_as_it_says(rounds: int) -> None:
    draw = random.Random(1)
    trials = 1000
    covered = 0
    for _ in range(trials):
        found = estimate(exactly(*(draw.lognormvariate(0, 0.3) for _ in range(rounds))))
        covered += found.low <= 1 <= found.high
    # Three standard errors of so many trials are 0.02.
    assert covered / trials == pytest.approx(found.confidence, abs=0.02)


def test_the_interval_grows_narrower_with_rounds() -> None:
    draw = random.Random(2)
    sample = exactly(*(draw.gauss(10, 1) for _ in range(80)))
    few, many = estimate(sample[:10]), estimate(sample)
    assert many.high - many.low < 0.6 * (few.high - few.low)


def test_what_is_known_in_bounds_only_widens_the_interval() -> None:
    found = estimate([Bounded(1.0, 0.9, 1.3)] * 5)
    assert (found.median, found.low, found.high) == (1.0, 0.9, 1.3)


def test_ratios_are_paired_within_a_round() -> None:
    # The machine is ten times as slow in the second round: unpaired, nothing could be said.
    cells = [
        cell("a", 1, rate=300.0), cell("b", 1, rate=100.0),
        cell("a", 2, rate=30.0), cell("b", 2, rate=10.0),
        cell("a", 3, rate=310.0), cell("b", 3, rate=100.0),
        # Half a pair is none.
        cell("a", 4, rate=9999.0),
    ]  # fmt: skip
    found = compare(Comparison(figure="rate", variant="a", against="b"), cells)
    assert found is not None
    assert (found.median, found.low, found.high, found.rounds) == (3.0, 3.0, 3.1, 3)


def test_differences_and_plain_values() -> None:
    cells = [cell("a", n, wall_s=2.0 + n, threads=7.0) for n in (1, 2)]
    cells += [cell("b", n, wall_s=1.0 + n, threads=5.0) for n in (1, 2)]
    apart = Comparison(figure="wall_s", variant="a", against="b", difference=True)
    found = compare(apart, cells)
    assert found is not None
    assert (found.low, found.high) == (1.0, 1.0)
    plain = compare(Comparison(figure="threads", variant="a"), cells)
    assert plain is not None
    assert plain.median == 7.0
    assert compare(Comparison(figure="none", variant="a"), cells) is None


def test_what_ticks_leave_out_is_nobody_elses() -> None:
    before = _Machine(clock=0.0, busy_s=0.0, own_s=0.0, server_s=0.0, processes=20)
    # A quarter of a second on two cores, half of which no process has been told to have used.
    short = replace(before, clock=0.25, busy_s=0.5, own_s=0.1, server_s=0.15)
    assert _others(before, short, cores=2) == 0
    long = replace(before, clock=25.0, busy_s=50.0, own_s=10.0, server_s=15.0)
    assert _others(before, long, cores=2) == pytest.approx(0.5, abs=0.01)


def test_a_gauge_sees_the_processor_the_memory_and_the_threads() -> None:
    gauge, done = Gauge(None, None), threading.Event()
    waiting = [threading.Thread(target=done.wait) for _ in range(3)]
    with gauge.measuring():
        held = bytearray(b"x") * (50 * 2**20)
        for thread in waiting:
            thread.start()
        began = time.process_time()
        while time.process_time() < began + 0.2:
            pass
    done.set()
    measured = gauge.measurement()
    assert 0.2 <= measured.cpu_s < 2
    assert measured.peak_mib - measured.idle_mib >= 0.9 * len(held) / 2**20
    assert measured.threads >= 4


def test_a_busy_machine_widens_what_depends_on_time_and_nothing_else() -> None:
    quiet, busy = cell("a", 1, others=0.05, rate=100.0), cell("a", 1, others=0.5, rate=100.0)
    assert quiet.bounded("rate") == (100.0, 100.0, 100.0)
    # Half of the machine was taken: it may have been slowed down to half.
    assert busy.bounded("rate") == (100.0, 100.0, 200.0)
    late = cell("a", 1, others=0.5, wall_s=4.0, cpu_ms=3.0, threads=9.0)
    assert late.bounded("wall_s") == (4.0, 2.0, 4.0)
    assert late.bounded("cpu_ms") == (3.0, 3.0, 3.0)
    assert late.bounded("threads") == (9.0, 9.0, 9.0)
    assert cell("a", 1, others=0.5, rows_per_s=7.0).bounded("rows_per_s") == (7.0, 7.0, 14.0)

    cells = [busy, cell("b", 1, others=0.2, rate=100.0)]
    found = compare(Comparison(figure="rate", variant="a", against="b"), cells)
    assert found is not None
    assert (found.median, found.low, found.high) == (1.0, 0.8, 2.0)


@pytest.mark.parametrize(
    ("low", "high", "rounds", "verdict"),
    [
        (3.0, 3.5, 5, "met"),
        (2.9, 3.5, 5, "undecided"),
        (2.0, 2.9, 5, "missed"),
        (3.2, 3.2, 1, "undecided"),
        # Four of four on one side come by chance once in eight times.
        (3.2, 3.5, 4, "undecided"),
        (2.0, 2.1, 2, "undecided"),
    ],
)
def test_a_target_is_met_by_the_whole_interval_or_not_at_all(
    low: float, high: float, rounds: int, verdict: str
) -> None:
    wanted = Comparison(figure="rate", variant="a", against="b", least=3.0)
    found = Estimate(median=(low + high) / 2, low=low, high=high, rounds=rounds)
    assert Compared(comparison=wanted, estimate=found).verdict == verdict


def test_without_a_target_or_without_a_pair_nothing_is_met() -> None:
    found = Estimate(median=1.0, low=1.0, high=1.0, rounds=5)
    bare = Comparison(figure="rate", variant="a", against="b")
    assert Compared(comparison=bare, estimate=found).verdict is None
    wanted = Comparison(figure="rate", variant="a", against="b", most=3.0)
    assert Compared(comparison=wanted, estimate=None).verdict == "undecided"


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.3, 2.0])
def test_an_exponent_is_found_and_covered(exponent: float) -> None:
    draw = random.Random(3)
    points = [
        (x, 5 * x**exponent * draw.lognormvariate(0, 0.05))
        for x in (1e3, 1e4, 1e5, 1e6)
        for _ in range(5)
    ]
    fit = fit_exponent(points)
    assert fit.low <= exponent <= fit.high
    assert fit.high - fit.low < 0.1


def test_growth_that_sets_in_late_is_seen_at_its_steepest() -> None:
    # Linear up to 10^5, quadratic from there on.
    points = [(1e3, 1e3), (1e4, 1e4), (1e5, 1e5), (1e6, 1e7)]
    fit = fit_exponent(points)
    assert fit.steepest == pytest.approx(2)
    assert fit.exponent < 1.5
    assert fit.high - fit.low > 0.2


def test_growth_is_judged_by_its_interval_and_never_by_two_points() -> None:
    fit = Fit(exponent=0.05, low=0.0, high=0.09, steepest=0.1)
    found = Growth(series="s", figure="cpu_ms", points=8, places=4, fit=fit, most=0.1)
    assert found.verdict == "met"
    assert replace(found, fit=fit._replace(low=0.08, high=0.3)).verdict == "undecided"
    assert replace(found, fit=fit._replace(steepest=0.2)).verdict == "undecided"
    assert replace(found, fit=fit._replace(low=0.2, high=0.3)).verdict == "missed"
    assert replace(found, points=2).verdict == "undecided"
    assert replace(found, places=2).verdict == "undecided"


PER_MESSAGE = {
    "rate": 1000.0,
    "cpu_ms": 0.5,
    "server_cpu_ms": 0.1,
    "wal_bytes": 100.0,
    "table_bytes": 50.0,
    "xids": 0.001,
    "connections": 20.0,
}


def test_a_day_of_messages_is_what_one_costs_so_many_times() -> None:
    limits = {
        "cores": 2.0,
        "max_connections": 1000.0,
        "max_wal_bytes": 3e9,
        "checkpoint_timeout_s": 300.0,
        "checkpoint_completion_target": 0.5,
        "disk_free_bytes": 1e12,
    }
    found = outlook("v", PER_MESSAGE, limits, messages=864_000_000)
    assert found is not None
    # Ten thousand a second.
    assert {need.what: (need.needed, need.share) for need in found.needs} == {
        "workers": (10, None),
        "cores of the workers": (5.0, None),
        "cores of PostgreSQL": (1.0, None),
        "cores": (6.0, 3.0),
        "connections": (200.0, 0.2),
        "log": (1.0, pytest.approx(0.15)),
        "tables": (43.2, None),
        "transaction ids": (0.864, None),
    }
    lasting = {need.what: need.lasts_days for need in found.needs if need.used_up}
    assert lasting == {
        "tables": pytest.approx(1000 / 43.2),
        "transaction ids": pytest.approx(2000 / 0.864),
    }
    assert found.first is not None
    assert found.first.what == "cores"
    few = outlook("v", PER_MESSAGE, {**limits, "max_connections": 50.0}, messages=864_000_000)
    assert few is not None
    assert few.first is not None
    assert few.first.what == "connections"


def test_without_a_figure_there_is_no_outlook() -> None:
    known = {name: value for name, value in PER_MESSAGE.items() if name != "server_cpu_ms"}
    assert outlook("v", known, {}) is None


def test_draws_do_not_depend_on_the_state_of_others() -> None:
    values = [random.random() for _ in range(9)]
    sample = exactly(*values)
    random.seed(1)
    points = [(x + 1.0, 1 + bounded.value) for x, bounded in enumerate(sample)]
    first = fit_exponent(points)
    random.seed(2)
    assert fit_exponent(points) == first
    assert estimate(sample).median == statistics.median(values)
