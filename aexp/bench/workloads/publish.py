"""``publish`` and ``publish-latency``: one message to a workflow, on a queue.

A message's workflow does one insert, which refuses its own double. Done again after a kill it
changes nothing, so that a step around it would add two transactions and no safety; that is so for
sync and async alike. The variants *in a step* show what the step costs either of them.

A good part of what fan-out gains is that it enqueues many to a transaction, which sync can do too:
*sync, in batches* does, beside what DBOS's documentation has.

Without latency the limit is what PostgreSQL commits on 16 connections. With latency it is that of
the broker: latency x messages / concurrency, and the inserts by hand at the same concurrency.
"""

from __future__ import annotations

from aexp.bench.workload import Comparison, Variant, Workload
from aexp.bench.workloads.publish_async import (
    publish_by_hand,
    publish_fanned_out,
    publish_naively,
)
from aexp.bench.workloads.publish_sync import publish_sync, publish_sync_in_batches

__all__ = ["LATENCY", "PUBLISH"]

# The best of 8, 16, 50 and 100 without latency: more only wait for the interpreter's lock.
_SYNC_THREADS = 16
# With latency more of them wait at the broker, so that more of them pay.
_SYNC_THREADS_AT_BROKER = 30

PUBLISH = Workload(
    name="publish",
    summary="one message to a workflow",
    unit="message",
    size={"messages": 2000, "latency_s": 0.0, "in_step": False},
    quick_size={"messages": 300, "latency_s": 0.0, "in_step": False},
    variants=[
        Variant(name="sync", run=publish_sync, loop=None, size={"threads": _SYNC_THREADS}),
        Variant(
            name="sync, in batches",
            run=publish_sync_in_batches,
            loop=None,
            size={"threads": _SYNC_THREADS},
        ),
        Variant(name="naive uvloop", run=publish_naively, loop="uvloop"),
        Variant(name="naive asyncio", run=publish_naively, loop="asyncio", in_quick=False),
        *(
            Variant(
                name=f"fan-out {loop}",
                run=publish_fanned_out,
                loop=loop,
                size={"concurrency": 100},
            )
            for loop in ("uvloop", "asyncio")
        ),
        Variant(
            name="sync, in a step",
            run=publish_sync,
            loop=None,
            size={"threads": _SYNC_THREADS, "in_step": True},
            in_quick=False,
        ),
        Variant(
            name="fan-out uvloop, in a step",
            run=publish_fanned_out,
            loop="uvloop",
            size={"concurrency": 100, "in_step": True},
            in_quick=False,
        ),
        Variant(
            name="limit",
            run=publish_by_hand,
            loop="uvloop",
            # So many that it is not over before it can be measured.
            size={"concurrency": 16, "messages": 20_000},
            quick_size={"concurrency": 16, "messages": 10_000},
        ),
    ],
    comparisons=[
        Comparison(figure="rate", variant="fan-out uvloop", against="sync", least=3.0),
        Comparison(
            figure="rate", variant="fan-out asyncio", against="fan-out uvloop", least=0.9, most=1.1
        ),
        Comparison(figure="rate", variant="fan-out uvloop", against="sync, in batches"),
        Comparison(figure="rate", variant="naive uvloop", against="sync"),
        Comparison(figure="rate", variant="fan-out uvloop, in a step", against="sync, in a step"),
        Comparison(figure="cpu_ms", variant="fan-out uvloop", against="sync"),
        Comparison(figure="rate", variant="fan-out uvloop", against="limit"),
    ],
)

LATENCY = Workload(
    name="publish-latency",
    summary="one message to a workflow, 0.1 s at the broker",
    unit="message",
    size={"messages": 1000, "latency_s": 0.1, "in_step": False},
    quick_size={"messages": 200, "latency_s": 0.1, "in_step": False},
    variants=[
        Variant(
            name="sync", run=publish_sync, loop=None, size={"threads": _SYNC_THREADS_AT_BROKER}
        ),
        Variant(name="sync unbounded", run=publish_sync, loop=None, size={"threads": None}),
        Variant(
            name="sync, in batches",
            run=publish_sync_in_batches,
            loop=None,
            size={"threads": _SYNC_THREADS_AT_BROKER},
            in_quick=False,
        ),
        Variant(name="naive uvloop", run=publish_naively, loop="uvloop", in_quick=False),
        Variant(
            name="fan-out uvloop",
            run=publish_fanned_out,
            loop="uvloop",
            size={"concurrency": 100},
        ),
        Variant(
            name="fan-out asyncio",
            run=publish_fanned_out,
            loop="asyncio",
            size={"concurrency": 100},
            in_quick=False,
        ),
        Variant(name="limit", run=publish_by_hand, loop="uvloop", size={"concurrency": 100}),
    ],
    comparisons=[
        Comparison(figure="rate", variant="fan-out uvloop", against="sync", least=2.6),
        Comparison(figure="threads", variant="fan-out uvloop", most=30),
        Comparison(figure="rate", variant="fan-out uvloop", against="sync, in batches"),
        Comparison(figure="rate", variant="sync unbounded", against="sync"),
        Comparison(figure="threads", variant="sync unbounded"),
        Comparison(figure="rate", variant="fan-out uvloop", against="limit"),
    ],
)
