"""Spans of runs, as a collector gets them; and what is said when there can be none."""

from __future__ import annotations

from pathlib import Path

import pytest

from aexp.settings import otlp_protocol
from tests.support.cli import Cli
from tests.support.collector import collecting
from tests.support.object_store import nobody, silence
from tests.support.service import serving

RESUME = ("run", "resume", "--set", "messages=4", "--json")


def test_a_run_is_one_trace_whichever_process_worked_on_it(cli: Cli) -> None:
    with collecting() as collector:
        cli.environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20of-a-collector",
            "OTEL_SERVICE_NAME": "laboratory",
        }
        ran = cli(*RESUME, "--kills", "1", "--seed", "3")
    assert ran.code == 0, ran.stderr
    run_id = ran.json["run_id"]

    assert collector.authorizations == {"Bearer of-a-collector"}
    assert {span.resource["service.name"] for span in collector.spans} == {"laboratory"}
    by_workflow: dict[str, set[str]] = {}
    for span in collector.spans:
        workflow_id = span.attributes.get("dbos.operation.workflow_id")
        if workflow_id is not None:
            by_workflow.setdefault(workflow_id, set()).add(span.name)
    # The last process sees the whole of the root, and of each child what the kill left to do.
    assert {"plan", "resume.publish_messages"} <= by_workflow.pop(run_id)
    assert by_workflow
    for workflow_id, names in by_workflow.items():
        assert workflow_id.startswith(f"{run_id}.")
        assert names <= {"publish", "resume.publish_chunk"}
    workflows = [span for span in collector.spans if "dbos.operation.type" in span.attributes]
    assert len({span.trace_id for span in workflows}) == 1
    assert not any(span.failed for span in workflows)


def test_the_runs_of_a_service_are_traced_too(cli: Cli) -> None:
    with collecting() as collector:
        variables = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/v1/traces"}
        with serving(cli, environment=variables) as served:
            ids = [served.begin("scope"), served.begin("scope")]
            for run_id in ids:
                served.await_end(run_id)
    assert {span.resource["service.name"] for span in collector.spans} == {"aexp"}
    roots = {
        span.attributes.get("dbos.operation.workflow_id"): span.trace_id
        for span in collector.spans
        if span.attributes.get("dbos.operation.type") == "workflow"
    }
    assert set(roots) == set(ids)
    assert len(set(roots.values())) == len(ids)


@pytest.mark.parametrize("answers", ["nobody", "silence"])
def test_a_collector_that_takes_nothing_keeps_nobody_from_the_end(cli: Cli, answers: str) -> None:
    with silence() as silent:
        url = silent if answers == "silence" else nobody()
        cli.environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": url}
        ran = cli(*RESUME)
    assert (ran.code, ran.json["status"]) == (0, "SUCCESS"), ran.stderr
    assert "tracing.spans_lost" in {event["event"] for event in ran.events}


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, "pip install 'aexp[otel]'"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
    ],
)
def test_what_keeps_it_from_tracing_is_said(
    cli: Cli, tmp_path: Path, variables: dict[str, str], reason: str
) -> None:
    # As in an environment without the extra.
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "sitecustomize.py").write_text(
        'import sys; sys.modules["opentelemetry.exporter.otlp.proto.http"] = None\n'
    )
    with collecting() as collector:
        cli.environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "PYTHONPATH": str(tmp_path / "without"),
            **variables,
        }
        ran = cli(*RESUME)
    assert ran.code == 0, ran.stderr
    assert collector.spans == []
    (line,) = [event for event in ran.events if event["event"] == "tracing.left_out"]
    assert reason in line["reason"]
    assert line["severity"] == "WARNING"


def test_a_variable_that_is_not_valid_is_an_error_of_one_line(cli: Cli) -> None:
    cli.environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_BSP_MAX_QUEUE_SIZE": "-1",
    }
    ran = cli(*RESUME)
    assert ran.code == 2
    assert "OpenTelemetry's is not valid" in ran.error


@pytest.mark.parametrize(
    ("variables", "protocol"),
    [
        ({}, None),
        ({"EXPORTER_OTLP_ENDPOINT": "http://here"}, "http/protobuf"),
        ({"EXPORTER_OTLP_TRACES_ENDPOINT": "http://here"}, "http/protobuf"),
        ({"EXPORTER_OTLP_LOGS_ENDPOINT": "http://here"}, None),
        ({"TRACES_EXPORTER": "otlp"}, "http/protobuf"),
        ({"TRACES_EXPORTER": "console, otlp"}, "http/protobuf"),
        ({"TRACES_EXPORTER": "none", "EXPORTER_OTLP_ENDPOINT": "http://here"}, None),
        ({"SDK_DISABLED": "True", "EXPORTER_OTLP_ENDPOINT": "http://here"}, None),
        ({"EXPORTER_OTLP_ENDPOINT": "http://here", "EXPORTER_OTLP_PROTOCOL": "grpc"}, "grpc"),
        (
            {
                "EXPORTER_OTLP_ENDPOINT": "http://here",
                "EXPORTER_OTLP_PROTOCOL": "grpc",
                "EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            "http/protobuf",
        ),
    ],
)
def test_the_usual_variables_say_whether_and_how(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], protocol: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_{name}", value)
    assert otlp_protocol() == protocol
