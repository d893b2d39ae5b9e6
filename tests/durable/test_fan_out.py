"""fan_out: many children, in order, each started once, awaited together."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
import pytest_asyncio
from dbos import DBOS, DBOSConfiguredInstance, SetWorkflowID, WorkflowHandleAsync

from aexp import ChildFailed, fan_out
from aexp.database import DatabaseUrl
from aexp.database.connect import Connection
from aexp.engine.runtime import ROOT_QUEUE, Queue, Runtime, current_runtime, open_runtime
from aexp.settings import Settings
from tests.support.cli import eventually

QUEUE = "test_fanout"
ROOT = Queue(name=ROOT_QUEUE)
SLEEPERS = (
    "SELECT workflow_uuid FROM dbos.workflow_status"
    " WHERE name = 'test.sleeper' AND status = 'PENDING'"
)

# Children that have begun to run in this process, by number: what no durable row would tell.
begun: list[int] = []


@DBOS.step(name="test.square")
async def square(number: int) -> int:
    return number * number


@DBOS.workflow(name="test.child")
async def child(number: int) -> int:
    begun.append(number)
    if number < 0:
        raise ValueError(f"no root of {number}")
    return await square(number)


@DBOS.workflow(name="test.parent")
async def parent(numbers: list[int], batch: int = 500, return_exceptions: bool = False) -> Any:
    arguments = ({"number": number} for number in numbers)
    if return_exceptions:
        found = await fan_out(child, arguments, queue=QUEUE, return_exceptions=True, batch=batch)
        return [str(item) if isinstance(item, Exception) else item for item in found]
    return await fan_out(child, arguments, queue=QUEUE, batch=batch)


@DBOS.workflow(name="test.twice")
async def twice(numbers: list[int]) -> Any:
    arguments = [{"number": number} for number in numbers]
    return [await fan_out(child, arguments, queue=QUEUE), await fan_out(child, [], queue=QUEUE)]


@DBOS.workflow(name="test.sleeper")
async def sleeper(number: int) -> int:
    await DBOS.sleep_async(60)
    return number


@DBOS.workflow(name="test.parent_of_sleepers")
async def parent_of_sleepers() -> Any:
    arguments = [{"number": number} for number in range(2)]
    found = await fan_out(sleeper, arguments, queue=QUEUE, return_exceptions=True)
    return [item if isinstance(item, int) else str(item) for item in found]


async def begin_sleepers(runtime: Runtime) -> tuple[WorkflowHandleAsync[Any], list[str]]:
    """A parent with the id "c" of two children that sleep by now, and their ids."""
    with SetWorkflowID("c"):
        handle = await DBOS.start_workflow_async(parent_of_sleepers)
    found: list[str] = []

    async def both_sleep() -> bool:
        rows = await runtime.database.pool.fetch(SLEEPERS)
        found[:] = [row["workflow_uuid"] for row in rows]
        return len(found) >= 2

    await eventually(both_sleep)
    return handle, found


class Unpicklable(Exception):
    """Pickles, but does not unpickle: its arguments are not those of its constructor."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"{number}: {reason}")


@DBOS.workflow(name="test.unpicklable")
async def unpicklable(number: int) -> int:
    raise Unpicklable(number, "no")


@DBOS.workflow(name="test.parent_of_unpicklable")
async def parent_of_unpicklable() -> list[str]:
    found = await fan_out(unpicklable, [{"number": 1}], queue=QUEUE, return_exceptions=True)
    return [type(item).__name__ for item in found]


@DBOS.workflow(name="test.two_at_once")
async def two_at_once() -> Any:
    arguments = [{"number": 1}]
    return await asyncio.gather(
        fan_out(child, arguments, queue=QUEUE), fan_out(child, arguments, queue=QUEUE)
    )


@DBOS.workflow(name="test.swallows")
async def swallows() -> Any:
    """Goes on whatever its fan_out raises, as gather with return_exceptions does."""
    arguments = [{"number": 1}]
    [outcome] = await asyncio.gather(
        fan_out(sleeper, arguments, queue=QUEUE), return_exceptions=True
    )
    return repr(outcome)


@DBOS.dbos_class("test.Multiplier")
class Multiplier(DBOSConfiguredInstance):
    def __init__(self, name: str, factor: int) -> None:
        super().__init__(config_name=name)
        self.factor = factor

    @DBOS.workflow(name="test.multiply")
    async def multiply(self, number: int) -> int:
        return number * self.factor

    @DBOS.workflow(name="test.multiply_all")
    async def multiply_all(self, numbers: list[int]) -> list[int]:
        return await fan_out(self.multiply, ({"number": n} for n in numbers), queue=QUEUE)


doubler = Multiplier("doubler", 2)
tripler = Multiplier("tripler", 3)


@pytest_asyncio.fixture
async def runtime(database: DatabaseUrl) -> AsyncIterator[Runtime]:
    begun.clear()
    async with open_runtime(
        Settings(poll_interval_s=0.02),
        database,
        scope="test",
        queues=[Queue(name=QUEUE, worker_concurrency=50)],
    ) as runtime:
        yield runtime


async def children(runtime: Runtime) -> list[tuple[str, str, int]]:
    found = await runtime.database.pool.fetch(
        "SELECT workflow_uuid, status, recovery_attempts FROM dbos.workflow_status"
        " WHERE name = 'test.child' ORDER BY workflow_uuid"
    )
    return [tuple(row) for row in found]


@pytest.mark.asyncio
async def test_results_come_in_the_order_of_the_arguments(runtime: Runtime) -> None:
    numbers = [5, 3, 9, 1, 7]

    assert await parent(numbers) == [25, 9, 81, 1, 49]
    assert sorted(begun) == sorted(numbers)


@pytest.mark.asyncio
async def test_batches_keep_the_order_and_are_enqueued_two_at_a_time(runtime: Runtime) -> None:
    with SetWorkflowID("p"):
        handle = await DBOS.start_workflow_async(parent, list(range(25)), batch=4)

    assert await handle.get_result(polling_interval_sec=0.05) == [n * n for n in range(25)]
    steps = await DBOS.list_workflow_steps_async("p")
    names = [step["function_name"] for step in steps]
    enqueued = 0
    for name in names:
        enqueued += 1 if name == "fan_out.enqueue" else -1
        assert 0 <= enqueued <= 2
    assert names.count("fan_out.enqueue") == 7
    assert sum(name.startswith("fan_out.collect p.") for name in names) == 7


@pytest.mark.asyncio
async def test_no_arguments_make_no_children_and_no_steps(runtime: Runtime) -> None:
    with SetWorkflowID("none"):
        assert await parent([]) == []
    assert await DBOS.list_workflow_steps_async("none") == []


@pytest.mark.asyncio
async def test_two_fan_outs_of_one_parent_have_children_of_their_own(runtime: Runtime) -> None:
    assert await twice([1, 2]) == [[1, 4], []]


@pytest.mark.asyncio
async def test_an_error_is_raised_once_all_children_have_ended(runtime: Runtime) -> None:
    with pytest.raises(ValueError, match="no root of -2"):
        await parent([1, -2, 3])
    assert sorted(begun) == [-2, 1, 3]
    assert {status for _, status, _ in await children(runtime)} == {"SUCCESS", "ERROR"}


@pytest.mark.asyncio
async def test_errors_stand_in_the_place_of_results_when_asked_for(runtime: Runtime) -> None:
    assert await parent([2, -2, 3], return_exceptions=True) == [4, "no root of -2", 9]


@pytest.mark.asyncio
async def test_a_cancelled_child_is_an_error_that_names_it(runtime: Runtime) -> None:
    handle, found = await begin_sleepers(runtime)
    await DBOS.cancel_workflows_async(found)

    assert await handle.get_result(polling_interval_sec=0.05) == [
        f"workflow {workflow_id} ended as CANCELLED" for workflow_id in sorted(found)
    ]


@pytest.mark.asyncio
async def test_work_that_comes_back_to_the_process_that_still_does_it_fans_out(
    runtime: Runtime,
) -> None:
    handle, found = await begin_sleepers(runtime)
    await DBOS.resume_workflow_async("c")

    async def both_fan_out() -> bool:
        return len(runtime.fanning_out) == 2

    await eventually(both_fan_out)
    await DBOS.cancel_workflows_async(found)
    assert len(await handle.get_result(polling_interval_sec=0.05)) == 2


@pytest.mark.asyncio
async def test_a_queue_that_is_removed_as_it_is_registered_is_registered_again(
    database: DatabaseUrl, connection: Connection
) -> None:
    """By whoever leads the run to its end while we come to it; here a trigger, once."""
    await connection.execute(
        "CREATE SEQUENCE removed;"
        " CREATE FUNCTION remove() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        "  IF nextval('removed') = 1 THEN DELETE FROM dbos.queues WHERE name = NEW.name; END IF;"
        "  RETURN NULL; END $$;"
        " CREATE TRIGGER remove AFTER INSERT ON dbos.queues FOR EACH ROW"
        "  EXECUTE FUNCTION remove();"
    )
    async with open_runtime(
        Settings(poll_interval_s=0.02), database, scope="test", queues=[Queue(name=QUEUE)]
    ):
        assert await connection.fetchval("SELECT last_value FROM removed") > 1
        assert await parent([2]) == [4]


@pytest.mark.asyncio
async def test_an_error_that_cannot_be_unpickled_is_an_error_still(runtime: Runtime) -> None:
    assert await parent_of_unpicklable() == ["ChildFailed"]


@pytest.mark.asyncio
async def test_two_at_once_in_one_workflow_are_refused(runtime: Runtime) -> None:
    with pytest.raises(ValueError, match="another fan_out under way"):
        await two_at_once()


@pytest.mark.asyncio
async def test_a_drain_ends_no_workflow_that_waits_for_its_children(
    database: DatabaseUrl, connection: Connection
) -> None:
    settings = Settings(poll_interval_s=0.02, drain_timeout_s=0.5)
    async with open_runtime(
        settings, database, scope="test", queues=[ROOT, Queue(name=QUEUE, worker_concurrency=5)]
    ) as runtime:
        with SetWorkflowID("s"):
            await DBOS.enqueue_workflow_async(runtime.queue_name(ROOT_QUEUE), swallows)

        async def one_sleeps() -> bool:
            return bool(await connection.fetch(SLEEPERS))

        await eventually(one_sleeps)
        await runtime.drain()
    assert await connection.fetchval(
        "SELECT array_agg(DISTINCT status) FROM dbos.workflow_status"
    ) == ["PENDING"]


@pytest.mark.asyncio
async def test_lost_connections_are_waited_out(runtime: Runtime, connection: Connection) -> None:
    with SetWorkflowID("p"):
        handle = await DBOS.start_workflow_async(parent, list(range(40)), batch=10)
    ended = 0

    async def more_have_ended() -> bool:
        count = await connection.fetchval(
            "SELECT count(*) FROM dbos.workflow_status"
            " WHERE name = 'test.child' AND status = 'SUCCESS'"
        )
        return bool(count > ended or count == 40)

    for _ in range(5):
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await eventually(more_have_ended)
    assert await handle.get_result(polling_interval_sec=0.05) == [n * n for n in range(40)]


@pytest.mark.asyncio
async def test_children_of_configured_instances_run_on_their_instance(runtime: Runtime) -> None:
    assert await doubler.multiply_all([1, 2]) == [2, 4]
    assert await tripler.multiply_all([1, 2]) == [3, 6]


@pytest.mark.asyncio
async def test_outside_a_workflow_it_is_refused(runtime: Runtime) -> None:
    with pytest.raises(ValueError, match="from a workflow"):
        await fan_out(child, [{"number": 1}], queue=QUEUE)


def test_without_a_runtime_it_says_how_to_get_one() -> None:
    with pytest.raises(RuntimeError, match="run this through `aexp run`"):
        current_runtime()


@pytest.mark.asyncio
async def test_a_batch_of_none_is_refused(runtime: Runtime) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        await parent([1], batch=0)


@pytest.mark.asyncio
async def test_a_parent_that_is_recovered_finds_the_same_children(database: DatabaseUrl) -> None:
    """Launch twice: the first process stops listening after its children are enqueued."""
    begun.clear()
    settings = Settings(poll_interval_s=0.02)
    # Nothing listens to the children's queue, so the parent waits for ever.
    async with open_runtime(settings, database, scope="test", queues=[ROOT]) as first:
        await anyio.to_thread.run_sync(lambda: first.client.register_queue(QUEUE))
        with SetWorkflowID("r"):
            root_queue = first.queue_name(ROOT_QUEUE)
            await DBOS.enqueue_workflow_async(root_queue, parent, list(range(30)), batch=10)

        async def two_batches_are_enqueued() -> bool:
            return len(await children(first)) >= 20

        await eventually(two_batches_are_enqueued)
        await first.drain()
    assert begun == []

    async with open_runtime(
        settings,
        database,
        scope="test",
        queues=[ROOT, Queue(name=QUEUE, shared=True, worker_concurrency=50)],
    ) as second:
        handle: WorkflowHandleAsync[list[int]] = await DBOS.retrieve_workflow_async("r")
        result = await handle.get_result(polling_interval_sec=0.05)
        assert result == [n * n for n in range(30)]
        assert len(await children(second)) == 30
    assert sorted(begun) == list(range(30))


def test_the_error_of_a_lost_child_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(ChildFailed("w", "CANCELLED")))
    assert str(error) == "workflow w ended as CANCELLED"
