"""The service as a client sees it: scenarios, runs, and what is told of them."""

from __future__ import annotations

import subprocess
import sys

import jsonschema_rs
import pytest

from tests.support.service import Served, problem

BEFORE_THE_ROUTES = {"401", "403", "408", "413", "421", "431", "500", "503"}


def test_scenarios_are_told_with_the_schema_of_their_parameters(shared: Served) -> None:
    answer = shared.client.get("/scenarios")
    assert answer.status_code == 200
    scenarios = {scenario["name"]: scenario for scenario in answer.json()["scenarios"]}
    assert {"resume", "fibonacci", "nested", "objects"} <= set(scenarios)
    resume = scenarios["resume"]
    assert resume["summary"].startswith("Publish")
    assert resume["parameters"]["properties"]["messages"]["default"] == 20
    assert "no_duplicates" in {promise["name"] for promise in resume["promises"]}


def test_a_run_that_is_waited_for_comes_with_its_report(shared: Served) -> None:
    answer = shared.client.post(
        "/scenarios/resume/runs?wait=true", json={"parameters": {"messages": 3}}
    )
    assert answer.status_code == 200
    run = answer.json()
    assert answer.headers["location"] == f"/runs/{run['run_id']}"
    assert (run["status"], run["ended"], run["ok"], run["active"]) == (
        "SUCCESS", True, True, False,
    )  # fmt: skip
    assert run["report"]["account"]["messages"]["once"] == 3
    assert {promise["held"] for promise in run["report"]["promises"]} == {True}
    assert run["progress"] == {"done": 3, "total": 3}


def test_a_run_that_is_not_waited_for_is_found_at_its_location(shared: Served) -> None:
    answer = shared.client.post("/scenarios/resume/runs", json={"parameters": {"messages": 2}})
    assert answer.status_code == 202
    run = answer.json()
    assert (run["active"], run["report"]) == (True, None)
    location = answer.headers["location"]
    assert shared.client.get(location).json()["run_id"] == run["run_id"]

    ended = shared.await_end(run["run_id"])
    assert ended["report"]["account"]["messages"]["once"] == 2


def test_a_wait_is_over_when_its_time_is_and_the_run_goes_on(shared: Served) -> None:
    answer = shared.client.post(
        "/scenarios/resume/runs?wait=true&timeout_s=0.01", json={"parameters": {"messages": 2}}
    )
    assert answer.status_code == 202
    assert not answer.json()["ended"]
    assert shared.await_end(answer.json()["run_id"])["ok"]


def test_kills_land_and_are_accounted_for(shared: Served) -> None:
    answer = shared.client.post(
        "/scenarios/resume/runs?wait=true",
        json={"parameters": {"messages": 30, "concurrency": 3}, "kills": 2, "seed": 1},
    )
    run = answer.json()
    assert run["kills"] == {"asked": 2, "landed": 2, "seed": 1}
    assert run["ok"], run["report"]["promises"]
    assert [process["ended"] for process in run["report"]["processes"]] == [
        "killed by SIGKILL", "killed by SIGKILL", "completed",
    ]  # fmt: skip
    assert run["report"]["account"]["kills"]["landed"] == 2


def test_the_same_key_is_the_same_run(shared: Served) -> None:
    published = shared.count("aexp.publications")

    def ask(messages: int, key: str, **more: int) -> tuple[int, str | None]:
        answer = shared.client.post(
            "/scenarios/resume/runs?wait=true",
            json={"parameters": {"messages": messages}, **more},
            headers={"Idempotency-Key": key},
        )
        if answer.status_code != 200:
            problem(answer, 422, "key-reused")
        return answer.status_code, answer.json().get("run_id")

    first = ask(2, "a")
    assert first[0] == 200
    assert ask(2, "a") == first
    assert ask(2, "b")[1] != first[1]
    assert ask(3, "a") == (422, None)
    assert ask(2, "a", seed=5) == (422, None)
    assert shared.count("aexp.publications") == published + 4


def test_requests_at_once_with_one_key_begin_one_run(shared: Served) -> None:
    import concurrent.futures

    processes = shared.count("aexp.processes")

    def ask(_number: int) -> str:
        answer = shared.client.post(
            "/trigger_sync",
            params={"scenario": "resume"},
            json={"parameters": {"messages": 2}},
            headers={"Idempotency-Key": "k"},
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["run_id"])

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(ask, range(6)))) == 1
    assert shared.count("aexp.processes") == processes + 1


@pytest.mark.parametrize("name", ["nope", "x.py:flow", "os:system", "..%2fx", "a%00b", "%F0"])
def test_only_scenarios_that_are_known_by_name_can_be_run(shared: Served, name: str) -> None:
    runs = shared.count("aexp.runs")
    (shared.cli.folder / "x.py").write_text("raise SystemExit('imported')")
    answer = shared.client.post(f"/scenarios/{name}/runs", json={})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert shared.count("aexp.runs") == runs


def test_what_is_wrong_with_a_request_is_said_in_full(shared: Served) -> None:
    post = shared.client.post
    path = "/scenarios/resume/runs"
    wrong = problem(
        post(path, json={"parameters": {"messages": 0, "nope": 1}}), 422, "invalid-parameter"
    )
    assert "messages=0" in wrong["detail"]
    assert "'nope'" in wrong["detail"]
    assert "--set" not in wrong["detail"]
    unknown = problem(post(path, json={"parametres": {}}), 422, "invalid-request")
    assert unknown["errors"] == [
        {"where": "body.parametres", "what": "Extra inputs are not permitted"}
    ]
    problem(post(path, json={"kills": 91}), 422, "invalid-request")
    problem(post(path, json={"parameters": {"delivery": "\0"}}), 422, "invalid-request")
    headers = {"content-type": "application/json"}
    problem(post(path, content=b"{", headers=headers), 422, "invalid-request")
    broken = b'{"parameters": {"delivery": "\\ud800"}}'
    problem(post(path, content=broken, headers=headers), 422, "invalid-request")
    deep = b'{"parameters": {"exclude": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}"
    assert post("/scenarios/objects/runs", content=deep, headers=headers).status_code in {400, 422}
    problem(post(path, json={}, params={"wait": "perhaps"}), 422, "invalid-request")
    problem(post(path, json={}, headers={"Idempotency-Key": "with blank"}), 422, "invalid-request")
    problem(shared.client.get("/nowhere"), 404, "not-found")
    problem(shared.client.put("/runs"), 405, "method-not-allowed")
    problem(shared.client.get("/runs/nope"), 404, "unknown-run")
    problem(shared.client.get("/runs/no.pe"), 422, "invalid-request")
    problem(shared.client.get("/runs?cursor=nonsense"), 422, "invalid-request")
    problem(shared.client.get("/runs?began_after=yesterday"), 422, "invalid-request")


def test_runs_are_listed_page_by_page_and_filtered(served: Served) -> None:
    ids = []
    for number in range(5):
        scenario = "scope" if number == 2 else "resume"
        answer = served.client.post(f"/trigger_sync?scenario={scenario}", json={})
        ids.append(answer.json()["run_id"])
    newest_first = ids[::-1]

    def listed(**query: str | int) -> list[str]:
        answer = served.client.get("/runs", params=query)
        assert answer.status_code == 200, answer.text
        return [run["run_id"] for run in answer.json()["runs"]]

    assert listed() == newest_first
    assert listed(scenario="scope") == [ids[2]]
    assert listed(status="SUCCESS") == newest_first
    assert listed(status="ERROR") == []
    middle = served.run(ids[2])["created_at"]
    assert listed(began_after=middle) == newest_first[:2]
    assert listed(began_before=middle) == newest_first[3:]

    found: list[str] = []
    query: dict[str, str | int] = {"limit": 2}
    while True:
        page = served.client.get("/runs", params=query).json()
        assert len(page["runs"]) <= 2
        found += [run["run_id"] for run in page["runs"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert found == newest_first


def test_the_workflows_of_a_run_are_a_tree(shared: Served) -> None:
    run = shared.client.post("/trigger_sync?scenario=nested", json={}).json()
    tree = shared.client.get(f"/runs/{run['run_id']}/workflows").json()
    counted = 0
    todo = list(tree["workflows"])
    assert [node["workflow_id"] for node in todo] == [run["run_id"]]
    while todo:
        node = todo.pop()
        counted += 1
        assert node["status"] == "SUCCESS"
        todo += node["children"]
    assert (
        counted
        == tree["total"]
        == tree["shown"]
        == run["report"]["account"]["workflows"]["SUCCESS"]
    )

    # The children of fan_out carry no link to their parent.
    fanned = shared.client.post(
        "/trigger_sync?scenario=resume", json={"parameters": {"messages": 3}}
    ).json()
    [root] = shared.client.get(f"/runs/{fanned['run_id']}/workflows").json()["workflows"]
    assert [child["workflow_id"] for child in root["children"]] == [
        f"{fanned['run_id']}.2.{number}" for number in range(3)
    ]


def test_the_steps_of_a_run_come_page_by_page(shared: Served) -> None:
    run_id = shared.client.post(
        "/trigger_sync?scenario=resume", json={"parameters": {"messages": 3}}
    ).json()["run_id"]
    path = f"/runs/{run_id}/steps"
    whole = shared.client.get(path).json()
    assert whole["next"] is None
    assert [step["name"] for step in whole["steps"]][:2] == ["plan", "fan_out.enqueue"]
    assert whole["steps"][1]["output"] == f"'{run_id}.2'"

    first = shared.client.get(path, params={"limit": 4}).json()
    rest = shared.client.get(path, params={"limit": 4, "cursor": first["next"]}).json()
    assert first["steps"] + rest["steps"] == whole["steps"]
    only = shared.client.get(path, params={"workflow_id": f"{run_id}.2.0"}).json()
    assert [step["workflow_id"] for step in only["steps"]] == [f"{run_id}.2.0"]


def test_the_seeds_endpoints_have_their_names(served: Served) -> None:
    quick = {"parameters": {"messages": 1}}
    waited = served.client.post("/trigger_sync", params={"scenario": "resume"}, json=quick)
    assert (waited.status_code, waited.json()["status"]) == (200, "SUCCESS")
    at_once = served.client.post("/trigger_async", params={"scenario": "resume"}, json=quick)
    assert at_once.status_code == 202
    served.await_end(at_once.json()["run_id"])
    without_body = served.client.post("/trigger_async", params={"scenario": "scope"})
    assert without_body.status_code == 202
    problem(served.client.post("/trigger_sync"), 422, "invalid-request")
    problem(served.client.post("/trigger_sync?scenario=x"), 404, "unknown-scenario")

    assert served.client.post("/shutdown").status_code == 202
    assert served.wait() == 0


def test_a_run_of_the_command_line_is_shown_but_none_of_a_users_module_is_imported(
    shared: Served,
) -> None:
    (shared.cli.folder / "mine.py").write_text(
        "from dbos import DBOS\n@DBOS.workflow()\nasync def mine() -> int:\n    return 1\n"
    )
    assert shared.cli("run", "mine.py:mine", "--run-id", "own").code == 0
    assert shared.cli("run", "scope", "--run-id", "known").code == 0
    own = shared.run("own", report=True)
    assert (own["status"], own["report"], own["ok"]) == ("SUCCESS", None, None)
    known = shared.run("known", report=True)
    assert known["ok"]
    with shared.client.stream("GET", "/runs/known/events") as answer:
        # It was never hosted, so there is nothing to tell, and it has ended.
        assert not any(line.startswith("data") for line in answer.iter_lines())


def test_the_openapi_document_tells_of_every_problem(shared: Served) -> None:
    document = shared.client.get("/openapi.json").json()
    assert "Problem" in document["components"]["schemas"]
    assert "HTTPValidationError" not in str(document)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["description"], (method, path)
            # What stands before the routes answers to all of them.
            assert operation["responses"].keys() >= BEFORE_THE_ROUTES, (method, path)
            for code, response in operation["responses"].items():
                if int(code) >= 400:
                    assert list(response["content"]) == ["application/problem+json"]


def test_the_examples_of_the_openapi_document_are_what_they_are_examples_of(
    shared: Served,
) -> None:
    document = shared.client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    shown = {name for name, schema in schemas.items() if "examples" in schema}
    assert shown >= {"RunRequest", "ForkRequest", "RunDetail", "RunPage", "WorkflowTree"}
    for name in shown:
        validator = jsonschema_rs.validator_for(
            {"$ref": f"#/components/schemas/{name}", "components": document["components"]},
            validate_formats=True,
        )
        for example in schemas[name]["examples"]:
            validator.validate(example)
    events = document["paths"]["/runs/{run_id}/events"]["get"]["responses"]["200"]["content"]
    assert "event: run.progressed\n" in events["text/event-stream"]["example"]
    problems = jsonschema_rs.validator_for(schemas["Problem"])
    for operations in document["paths"].values():
        for operation in operations.values():
            for code, response in operation["responses"].items():
                if int(code) >= 400:
                    example = response["content"]["application/problem+json"]["example"]
                    problems.validate(example)
                    assert not example["type"].endswith(f"status-{code}")


def test_no_other_command_pays_for_the_web_framework() -> None:
    commands = ("bench", "crash", "db", "report", "run", "show", "worker")
    program = (
        f"import sys; from aexp.cli.actions import {', '.join(commands)};"
        " assert 'dbos' in sys.modules;"
        " sys.exit(bool({'fastapi', 'uvicorn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
