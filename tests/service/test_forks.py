"""Runs that are forked from others: what they do, what is told of them, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.cli import Cli, held
from tests.support.service import LONG, Served, problem, serving

GENERIC = {"ends", "nothing_left", "checkpointed_once"}


@pytest.fixture
def served(cli: Cli) -> Iterator[Served]:
    with serving(cli) as served:
        yield served


def ended(served: Served, scenario: str, parameters: dict[str, Any] | None = None) -> Any:
    """A run that has ended well."""
    answer = served.client.post(
        f"/trigger_sync?scenario={scenario}", json={"parameters": parameters or {}}
    )
    assert answer.json()["ok"], answer.text
    return answer.json()


def fork(served: Served, origin: str, **body: Any) -> Any:
    """The fork, once it has ended."""
    answer = served.client.post(f"/runs/{origin}/fork", json=body)
    assert answer.status_code == 202, answer.text
    begun = answer.json()
    assert answer.headers["Location"] == f"/runs/{begun['run_id']}"
    start_step = body.get("start_step", 1)
    assert begun["forked_from"] == {"run_id": origin, "start_step": start_step}
    run = served.await_end(begun["run_id"])
    assert run["report"]["forked_from"] == begun["forked_from"]
    return run


def published(served: Served, run_id: str) -> int:
    [(count,)] = served.cli.query(
        "SELECT count(*) FROM aexp.publications WHERE run_id = %s", (run_id,)
    )
    return int(count)


@pytest.mark.parametrize(
    ("scenario", "parameters"),
    [("resume", {"messages": 6}), ("scope", {"steps": 3, "pause_s": 0.05})],
)
def test_a_fork_from_the_first_step_is_a_run_of_its_own(
    served: Served, scenario: str, parameters: dict[str, Any] | None
) -> None:
    origin = ended(served, scenario, parameters)
    run = fork(served, origin["run_id"])
    assert run["run_id"] != origin["run_id"]
    assert run["parameters"] == origin["parameters"]
    assert run["report"]["account"]["copied_checkpoints"] == 0
    # All that the scenario promises is judged, as of any run.
    assert held(run["report"]) == held(origin["report"])
    assert published(served, run["run_id"]) == published(served, origin["run_id"])
    # What the origin did is as it was.
    assert served.run(origin["run_id"], report=True)["report"] == origin["report"]


def test_a_later_fork_of_a_fan_out_takes_over_what_the_children_returned(served: Served) -> None:
    origin = ended(served, "resume")
    # plan, fan_out.enqueue, and from there on anew: fan_out.collect.
    run = fork(served, origin["run_id"], start_step=3, run_id="later")
    assert run["run_id"] == "later"
    assert run["report"]["result"] == origin["report"]["result"]
    # It published nothing: nothing is said of its messages, neither well nor ill.
    assert published(served, "later") == 0
    assert set(run["report"]["account"]) == {
        "workflows", "checkpoints", "copied_checkpoints", "steps_that_ran_more_than_once",
    }  # fmt: skip
    assert run["report"]["account"]["copied_checkpoints"] == 2
    judged = held(run["report"])
    assert judged["ends"]
    assert judged["nothing_left"]
    for promise in run["report"]["promises"]:
        if promise["name"] not in GENERIC:
            assert promise["held"] is None
            assert promise["reason"] == f"steps before 3 were done by run {origin['run_id']}"
    assert run["ok"]

    # The same request is the same fork; another one is not.
    again = served.client.post(
        f"/runs/{origin['run_id']}/fork", json={"start_step": 3, "run_id": "later"}
    )
    assert (again.status_code, again.json()["run_id"]) == (202, "later")
    other = served.client.post(f"/runs/{origin['run_id']}/fork", json={"run_id": "later"})
    assert "fork_step=3" in problem(other, 422, "key-reused")["detail"]


def test_a_later_fork_of_steps_that_write_does_only_the_rest(served: Served) -> None:
    origin = ended(served, "scope")
    steps = served.client.get(f"/runs/{origin['run_id']}/steps?limit=1000").json()["steps"]
    last = max(step["step_id"] for step in steps)
    middle = last // 2 + 1
    run = fork(served, origin["run_id"], start_step=middle)
    assert run["ok"], run["report"]
    assert held(run["report"])["checkpointed_once"]
    [(first,)] = served.cli.query(
        "SELECT min(step_id) FROM aexp.ledger WHERE run_id = %s", (run["run_id"],)
    )
    assert first >= middle
    steps = served.client.get(f"/runs/{run['run_id']}/steps?limit=1000").json()["steps"]
    assert {step["step_id"] for step in steps if step["copied"]} == set(range(1, middle))
    # Nothing is drawn of what happened before it began.
    timeline = served.client.get(f"/view/{run['run_id']}/data").json()["timeline"]
    (root,) = timeline["lanes"]
    drawn = {bar[timeline["columns"]["bars"].index("function_id")] for bar in root["bars"]}
    assert drawn == set(range(middle, last + 1))
    assert not any(timeline["truncated"].values())


@pytest.mark.nightly
def test_the_command_line_tells_of_forks(served: Served) -> None:
    origin = ended(served, "resume")["run_id"]
    run_id = fork(served, origin, start_step=2)["run_id"]
    audited = served.cli("audit", run_id)
    assert audited.code == 0, audited.stderr
    assert f"forked from {origin} at step 2" in audited.stdout
    assert f"(steps before 2 were done by run {origin})" in " ".join(audited.stdout.split())
    listed = {run["run_id"]: run["forked_from"] for run in served.cli("runs", "--json").json}
    assert listed == {run_id: origin, origin: None}


def test_a_fork_that_is_only_recorded_is_made_by_who_works_on_it(cli: Cli) -> None:
    # As a service that is killed in between leaves it.
    assert cli("run", "resume", "--run-id", "first").code == 0
    for fork_id, origin in (("second", "first"), ("third", "gone")):
        cli.query(
            "INSERT INTO aexp.runs (run_id, scenario, target, parameters, facts,"
            " application_version, forked_from, fork_step) SELECT %s, scenario, target, parameters,"
            " facts, 'run-' || %s, %s, 2 FROM aexp.runs WHERE run_id = 'first'",
            (fork_id, fork_id, origin),
        )
    resumed = cli("resume", "second", "--json")
    assert resumed.code == 0, resumed.stderr
    assert resumed.json["forked_from"] == {"run_id": "first", "start_step": 2}
    assert cli.query(
        "SELECT forked_from FROM dbos.workflow_status WHERE workflow_uuid = 'second'"
    ) == [("first",)]
    assert cli.query("SELECT count(*) FROM aexp.publications WHERE run_id = 'second'") == [(20,)]

    gone = cli("resume", "third")
    assert gone.code == 1
    assert "'gone', from which 'third' was to be forked, is no more" in gone.error


@pytest.mark.nightly
def test_what_cannot_be_forked_is_refused(cli: Cli) -> None:
    with serving(cli, "--max-active-runs", "1") as served:
        problem(served.client.post("/runs/nope/fork"), 404, "unknown-run")
        done = ended(served, "resume")["run_id"]
        ticked = ended(served, "heartbeat", {"ticks": 1})["run_id"]
        assert [served.run(run_id)["forkable"] for run_id in (done, ticked)] == [True, False]
        for body in ({"start_step": 0}, {"start_step": "2"}, {"run_id": "a.b"}, {"kills": 1}):
            answer = served.client.post(f"/runs/{done}/fork", json=body)
            problem(answer, 422, "invalid-request")
        far = served.client.post(f"/runs/{done}/fork", json={"start_step": 5})
        assert "from 1 to 4, not 5" in problem(far, 422, "fork-refused")["detail"]
        ticking = served.client.post(f"/runs/{ticked}/fork")
        assert "it has schedules" in problem(ticking, 422, "fork-refused")["detail"]

        working = served.begin("resume", LONG)
        problem(served.client.post(f"/runs/{working}/fork"), 409, "run-unfinished")
        assert not served.run(working)["forkable"]
        served.await_publications(25)
        full = served.client.post(f"/runs/{done}/fork")
        problem(full, 429, "too-many-runs")
        assert full.headers["Retry-After"]
        served.client.post(f"/runs/{working}/cancel")

        # Whoever waits for children of another run needs them.
        forked = served.client.post(f"/runs/{working}/fork", json={"run_id": "needy"})
        assert forked.status_code == 202
        needed = problem(served.client.delete(f"/runs/{working}"), 409, "run-unfinished")
        assert "needy" in needed["detail"]
        served.client.post("/runs/needy/cancel")
        assert served.client.delete(f"/runs/{working}").status_code == 204
        assert served.run("needy")["forked_from"] == {"run_id": working, "start_step": 1}


def test_a_run_of_elsewhere_does_nothing_that_requests_may_not_ask_for(cli: Cli) -> None:
    (cli.folder / "messages.jsonl").write_text('{"n": 1}\n')
    assert cli("run", "resume", "--run-id", "mine", "--set", "input=messages.jsonl").code == 0
    (cli.folder / "flows.py").write_text("open('imported', 'w').close()\n")
    cli.query(
        "INSERT INTO aexp.runs (run_id, scenario, target, parameters, facts, application_version)"
        " VALUES ('own', 'flow', %s, '{}', '{}', 'run-own')",
        (f"{cli.folder / 'flows.py'}:flow",),
    )
    (cli.folder / "root").mkdir()
    with serving(cli, "--input-root", "root") as served:
        for change in ("fork", "resume"):
            problem(served.client.post(f"/runs/mine/{change}"), 403, "forbidden-parameter")
            problem(served.client.post(f"/runs/own/{change}"), 404, "unknown-scenario")
        # What a request began may be resumed, though the scenario chose a folder of its own.
        chosen = served.begin("objects", {"starts": 1, "period_s": 3600})
        assert served.client.post(f"/runs/{chosen}/cancel").status_code == 200
        assert served.client.post(f"/runs/{chosen}/resume").status_code == 202
    assert not (cli.folder / "imported").exists()
