"""The counting scenarios: what survives a kill, by real kills and by planted violations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aexp.model.promise import judge
from aexp.scenarios.scope.promises import PROMISES, CountEvidence, ProcessCounts, account
from tests.support.cli import Cli, broken, held

SCENARIOS = {
    "scope": ["instance", "class", "module", "variable", "durable"],
    "scope-functions": ["module", "variable", "durable"],
}
DURABLE = {"variable", "durable"}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_without_a_kill_every_scope_counts_every_step(cli: Cli, scenario: str) -> None:
    result = cli("run", scenario, "--set", "pause_s=0", "--json")

    report = result.json
    assert result.code == 0, result.stderr
    assert report["result"] == {"variable": 30, "durable": 30}
    assert report["account"]["scopes"] == {
        scope: {"at_the_end": 30, "survives": None} for scope in SCENARIOS[scenario]
    }
    assert all(held(report).values())


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_two_kills_show_what_survives(cli: Cli, scenario: str) -> None:
    result = cli("run", scenario, "--kills", "2", "--seed", "3", "--json")

    report = result.json
    assert result.code == 0, result.stderr
    assert report["account"]["kills"]["landed"] == 2
    assert report["account"]["steps"] == {"asked": 30, "checkpoints": 30, "durable_counter": 30}
    scopes = report["account"]["scopes"]
    assert list(scopes) == SCENARIOS[scenario]
    for scope, summary in scopes.items():
        assert list(summary) == ["before_kill_1", "before_kill_2", "at_the_end", "survives"]
        if scope in DURABLE:
            assert summary["survives"] is True
            assert (
                summary["before_kill_1"] <= summary["before_kill_2"] < summary["at_the_end"] == 30
            )
        else:
            # Bodies that were killed before their checkpoint ran again elsewhere.
            assert summary["survives"] is False
            assert (
                summary["at_the_end"]
                <= 30 - summary["before_kill_1"] - summary["before_kill_2"] + 2
            )
    assert all(held(report).values())


def test_a_resumed_run_that_was_killed_unheard_still_shows_its_end(cli: Cli) -> None:
    assert cli("run", "scope", "--run-id", "s", "--crash-after", "5").code == -9

    report = cli("resume", "s", "--json").json

    assert [process["ended"] for process in report["processes"]] == ["vanished", "completed"]
    assert report["account"]["scopes"]["durable"] == {
        "before_kill_1": None,
        "at_the_end": 30,
        "survives": None,
    }
    assert all(held(report).values())


def test_a_step_too_many_in_the_table_is_found(cli: Cli) -> None:
    assert cli("run", "scope", "--run-id", "s", "--set", "pause_s=0", "--set", "steps=4").code == 0
    cli.query("UPDATE aexp.counters SET value = 5 WHERE run_id = 's'")

    audit = cli("audit", "s", "--json")

    assert audit.code == 1
    assert list(broken(audit.json)) == ["durable_exact"]
    assert broken(audit.json)["durable_exact"][0]["summary"] == (
        "the durable counter says 5, but 4 steps were checkpointed"
    )


GOOD = CountEvidence(
    steps=3,
    checkpoints=3,
    durable=3,
    variable=3,
    ended=True,
    processes=[
        ProcessCounts(1, "killed by SIGKILL", {"module": 0, "variable": 0, "durable": 0}, None),
        ProcessCounts(
            2,
            "completed",
            {"module": 0, "variable": 1, "durable": 1},
            {"module": 2, "variable": 3, "durable": 3},
        ),
    ],
)


def verdicts(evidence: CountEvidence) -> dict[str, bool | None]:
    return {verdict.name: verdict.held for verdict in judge(PROMISES, evidence)}


def test_good_evidence_breaks_nothing() -> None:
    assert all(verdicts(GOOD).values())


@pytest.mark.parametrize(
    ("bad", "broken"),
    [
        (replace(GOOD, checkpoints=4, durable=4), "each_step_once"),
        (replace(GOOD, checkpoints=2, durable=2), "each_step_once"),
        (replace(GOOD, durable=4), "durable_exact"),
        (replace(GOOD, durable=2), "durable_exact"),
        (replace(GOOD, variable=2), "variable_replayed"),
        (
            replace(
                GOOD,
                processes=[ProcessCounts(1, None, {"variable": 2, "durable": 1}, None)],
            ),
            "variable_replayed",
        ),
    ],
)
def test_a_planted_violation_is_reported(bad: CountEvidence, broken: str) -> None:
    assert [name for name, kept in verdicts(bad).items() if kept is False] == [broken]


def test_what_has_not_ended_is_not_judged_by_its_end() -> None:
    unfinished = replace(GOOD, checkpoints=2, durable=2, variable=None, ended=False)

    assert verdicts(unfinished) == {
        "each_step_once": None,
        "durable_exact": True,
        "variable_replayed": None,
    }


def test_a_scope_survives_when_no_process_found_less_than_was_told() -> None:
    processes = [
        ProcessCounts(
            1, "killed by SIGKILL", {"durable": 0, "module": 0}, {"durable": 2, "module": 2}
        ),
        ProcessCounts(2, "interrupted", None, None),
        ProcessCounts(3, "completed", {"durable": 3, "module": 0}, {"durable": 9, "module": 6}),
    ]

    assert account(replace(GOOD, processes=processes))["scopes"] == {
        "module": {
            "before_kill_1": 2,
            "before_stop_2": None,
            "at_the_end": 6,
            "survives": False,
        },
        "durable": {
            "before_kill_1": 2,
            "before_stop_2": None,
            "at_the_end": 9,
            "survives": True,
        },
    }
