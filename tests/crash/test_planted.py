"""Bugs that are known to be there: ``aexp crash`` names each, at the point where it shows."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from aexp.crash.judge.points import Side
from aexp.database import DatabaseUrl
from tests.support.explorations import PLANTED, explore, promises, struck

# DBOS takes one workflow of a name in a process.
_WORKFLOW = re.compile(r"^@DBOS\.workflow\(.*\)\n(?:async )?def (\w+)", re.MULTILINE)
FIRST = "insert dbos.operation_outputs [~:1]#1"
SECOND = "insert dbos.operation_outputs [~:2]#1"
THIRD = "insert dbos.operation_outputs [~:3]#1"
CHILD = (
    "insert dbos.workflow_status PENDING + insert dbos.workflow_input"
    " + insert dbos.operation_outputs [~:3]#1"
)

BUGS = [
    ("doubled_effect.py:SCENARIO", f"before:{FIRST}", {"shipped_once"}),
    ("lost_effect.py:SCENARIO", f"after:{FIRST}", {"shipped_once"}),
    ("bugs.py:coin", f"after:{FIRST}", {"same_result"}),
    # Of twelve steps the first six would have to wake up in the same order twice.
    ("bugs.py:racing", "after:insert dbos.operation_outputs [~:6]#1", {"same_result"}),
    ("bugs.py:unordered", f"after:{THIRD}", {"same_call"}),
    ("bugs.py:brood", f"after:{CHILD}", {"same_call"}),
    ("bugs.py:dropped", f"after:{SECOND}", {"never_again", "checkpoints_kept"}),
    ("bugs.py:lock_file", f"before:{FIRST}", {"same_result"}),
]


@pytest.mark.parametrize(("target", "point", "broken"), BUGS, ids=[bug[0] for bug in BUGS])
def test_a_planted_bug_is_found(
    server: DatabaseUrl, target: str, point: str, broken: set[str]
) -> None:
    result = struck(server, f"{PLANTED}/{target}", point)
    assert result.void is None
    assert result.held is False
    assert broken <= promises(result)


def test_a_result_that_no_two_runs_share_is_found_without_any_fault(server: DatabaseUrl) -> None:
    exploration = explore(server, f"{PLANTED}/bugs.py:clock", points=1)
    assert exploration.broken[0].name == "baseline"
    assert "replayed" in promises(exploration.broken[0])
    assert not exploration.ok


def test_an_effect_is_doubled_only_between_it_and_its_checkpoint(server: DatabaseUrl) -> None:
    exploration = explore(
        server, f"{PLANTED}/doubled_effect.py:SCENARIO", sides=(Side.BEFORE, Side.AFTER)
    )
    assert exploration.coverage == 1.0
    assert [result.name for result in exploration.broken] == [
        "after:insert shipments#1",
        f"before:{FIRST}",
    ]
    assert [result.duplicates for result in exploration.broken] == [1, 1]


def test_planted_workflows_have_names_of_their_own() -> None:
    names = Counter(
        name
        for path in PLANTED.rglob("*.py")
        for name in _WORKFLOW.findall(path.read_text(encoding="utf-8"))
    )
    assert len(names) > 40
    assert [name for name, count in names.items() if count > 1] == []
