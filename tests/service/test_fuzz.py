"""Requests that nobody thought of: the OpenAPI document, fuzzed against a running service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis import checks
from schemathesis.core.result import Ok

from tests.support.cli import Cli, wait_until
from tests.support.service import Served, serving

EXAMPLES = 25
SEED = 4
# Which parameters a scenario takes stands in GET /scenarios: a valid body may name others.
BEYOND_THE_DOCUMENT = [checks.positive_data_acceptance]


@pytest.fixture
def served(cli: Cli) -> Iterator[Served]:
    # Hardly a run may begin: what is fuzzed is what stands before.
    with serving(cli, "--max-active-runs", "1") as served:
        yield served


@pytest.mark.nightly
def test_no_request_is_answered_otherwise_than_documented(served: Served) -> None:
    run_id = served.begin("scope")
    served.await_end(run_id)
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    tried = 0
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        if operation.path in {"/shutdown", "/trigger_sync"}:
            # The one ends the service, the other waits for what its twin begins.
            continue

        @hypothesis.seed(SEED)
        @hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy())
        def ask(case: schemathesis.Case[Any]) -> None:
            nonlocal tried
            tried += 1
            if "wait" in (case.query or {}):
                case.query = {**case.query, "timeout_s": 0.01}
            answer = case.call(base_url=served.url, timeout=60)
            assert answer.status_code not in {500, 501, 502}, answer.text
            case.validate_response(answer, excluded_checks=BEYOND_THE_DOCUMENT)

        ask()
    assert tried > EXAMPLES * 5
    log = served.log.read_text()
    assert "Traceback" not in log
    assert '"severity": "ERROR"' not in log
    wait_until(lambda: served.client.get("/readyz").status_code == 200)
