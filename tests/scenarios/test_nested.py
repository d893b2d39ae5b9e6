"""The scenario ``nested``: one tree, however often its processes were killed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from aexp.model.promise import judge
from aexp.scenarios.nested.promises import (
    PROMISES,
    NestedEvidence,
    NestedStep,
    NestedWorkflow,
    account,
)
from tests.support.cli import Cli, broken, held


def shape(node: Mapping[str, Any]) -> Any:
    """A tree by names and modes alone."""
    if "step" in node:
        return node["step"]
    return (node["name"], node["mode"], [shape(child) for child in node["children"]])


def nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node["children"]:
        yield from nodes(child)


WHOLE_TREE = (
    "root",
    None,
    [
        (
            "child",
            mode,
            [("grandchild", "direct", ["work"]), ("grandchild", "queued", ["work"])],
        )
        for mode in ("direct", "queued")
    ],
)


def test_draws_the_tree(cli: Cli) -> None:
    result = cli("run", "nested", "--run-id", "family", "--set", "pause_s=0.01", "--json")

    report = result.json
    assert result.code == 0, result.stderr
    tree = report["account"]["tree"]
    assert shape(tree) == WHOLE_TREE
    assert tree["workflow_id"] == "family"
    assert all(0 <= node["began_s"] <= node["ended_s"] <= tree["ended_s"] for node in nodes(tree))
    assert {node["status"] for node in nodes(tree) if "status" in node} == {"SUCCESS"}
    assert all(held(report).values())
    found = cli.query(
        "SELECT workflow_uuid, parent_workflow_id FROM dbos.workflow_status"
        " WHERE name LIKE 'nested.%%'"
    )
    assert {row[0] for row in found} == {
        node["workflow_id"] for node in nodes(tree) if "workflow_id" in node
    }


def test_draws_it_for_people_too(cli: Cli) -> None:
    result = cli("run", "nested", "--run-id", "family", "--set", "pause_s=0")

    assert "└── root  family  SUCCESS" in result.stdout
    assert "├── grandchild" in result.stdout


@pytest.mark.parametrize("seed", [3, 5])
def test_two_kills_double_no_branch_and_lose_none(cli: Cli, seed: int) -> None:
    result = cli("run", "nested", "--kills", "2", "--seed", str(seed), "--json")

    report = result.json
    assert result.code == 0, result.stderr
    assert report["account"]["kills"]["landed"] == 2
    assert shape(report["account"]["tree"]) == WHOLE_TREE
    assert report["account"]["workflows"] == {"SUCCESS": 7}
    assert all(held(report).values())


def test_a_doubled_and_an_orphaned_branch_are_found_in_the_database(cli: Cli) -> None:
    report = cli("run", "nested", "--run-id", "f", "--set", "pause_s=0", "--json").json
    first, second = report["account"]["tree"]["children"]
    cli.query(
        "INSERT INTO dbos.workflow_status SELECT (jsonb_populate_record(w,"
        " jsonb_build_object('workflow_uuid', 'twin'))).* FROM dbos.workflow_status AS w"
        " WHERE workflow_uuid = %s",
        [first["workflow_id"]],
    )
    cli.query(
        "UPDATE dbos.workflow_status SET parent_workflow_id = 'gone' WHERE workflow_uuid = %s",
        [second["children"][1]["workflow_id"]],
    )

    audit = cli("audit", "f", "--json")

    assert audit.code == 1
    summaries = {
        name: [anomaly["summary"] for anomaly in anomalies]
        for name, anomalies in broken(audit.json).items()
    }
    assert summaries["one_child"] == [
        "workflows have more children of a mode than one",
        "workflows lack a child of a mode",
    ]
    assert summaries["no_orphan"] == [
        "workflows without a parent in the run",
        "workflows that no checkpoint of their parent names",
    ]
    assert audit.json["account"]["tree"]["name"] == "no single root"


def record(
    workflow_id: str, name: str, parent: str | None, mode: str | None, ended: int
) -> NestedWorkflow:
    return NestedWorkflow(
        workflow_id=workflow_id,
        name=f"nested.{name}",
        parent_id=parent,
        mode=mode,
        status="SUCCESS",
        began_ms=1000,
        ended_ms=ended,
        attempts=1,
        acknowledged=mode is not None,
    )


TREE = [
    record("r", "root", None, None, 1900),
    *(
        found
        for mode in ("direct", "queued")
        for found in (
            record(f"r-{mode}", "child", "r", mode, 1800),
            record(f"r-{mode}-direct", "grandchild", f"r-{mode}", "direct", 1700),
            record(f"r-{mode}-queued", "grandchild", f"r-{mode}", "queued", 1700),
        )
    ),
]
GOOD = NestedEvidence(
    run_id="r",
    ended=True,
    workflows=TREE,
    steps=[
        NestedStep(workflow.workflow_id, 2, 1500, 1600)
        for workflow in TREE
        if workflow.name == "nested.grandchild"
    ],
)


def broken_names(evidence: NestedEvidence) -> list[str]:
    return [verdict.name for verdict in judge(PROMISES, evidence) if verdict.held is False]


def test_good_evidence_breaks_nothing() -> None:
    assert [verdict.held for verdict in judge(PROMISES, GOOD)] == [True, True, True]
    assert shape(account(GOOD)["tree"]) == WHOLE_TREE


def changed(workflow_id: str, **values: Any) -> NestedEvidence:
    return replace(
        GOOD,
        workflows=[
            replace(found, **values) if found.workflow_id == workflow_id else found
            for found in TREE
        ],
    )


@pytest.mark.parametrize(
    ("bad", "names"),
    [
        (replace(GOOD, workflows=[*TREE, record("x", "child", "r", "direct", 1800)],
                 steps=GOOD.steps), ["one_child"]),
        (changed("r-queued-direct", mode="queued"), ["one_child"]),
        (changed("r-queued-direct", parent_id="elsewhere"), ["one_child", "no_orphan"]),
        (changed("r-direct", acknowledged=False), ["no_orphan"]),
        (changed("r-direct-queued", ended_ms=1801), ["no_orphan"]),
        (changed("r-direct-queued", ended_ms=None), ["no_orphan"]),
        (replace(GOOD, steps=GOOD.steps[1:]), ["step_once"]),
        (replace(GOOD, steps=[*GOOD.steps, GOOD.steps[0]]), ["step_once"]),
        (replace(GOOD, steps=[*GOOD.steps, NestedStep("r", 9, 1, 2)]), ["step_once"]),
    ],
)  # fmt: skip
def test_a_planted_violation_is_reported(bad: NestedEvidence, names: list[str]) -> None:
    # A child that hangs from a stranger has children of its own, which are then without a parent.
    assert [name for name in broken_names(bad) if name != "one_child" or name in names] == names


def test_a_grandchild_with_a_child_is_one_too_many() -> None:
    bad = replace(GOOD, workflows=[*TREE, record("x", "leaf", "r-direct-direct", "direct", 1600)])

    assert "one_child" in broken_names(bad)


def test_without_workflows_nothing_is_judged_and_an_unfinished_tree_lacks_nothing() -> None:
    nothing = replace(GOOD, ended=False, workflows=[], steps=[])
    unfinished = replace(GOOD, ended=False, workflows=[replace(TREE[0], ended_ms=None)], steps=[])

    assert [verdict.held for verdict in judge(PROMISES, nothing)] == [None, None, None]
    assert [verdict.held for verdict in judge(PROMISES, unfinished)] == [True, True, None]
    assert account(nothing) == {}
