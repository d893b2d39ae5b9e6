"""What was found is told by its cause, under a code that stays."""

from __future__ import annotations

from pathlib import Path

from aexp.crash.judge.codes import CODES, code_of, render_codes
from aexp.crash.judge.findings import Sighting, group_findings
from aexp.model.promise import Anomaly, Verdict

DOCS = Path(__file__).parents[3] / "docs" / "findings.md"

# Given once. A new kind gets a new number.
STABLE = {
    "baseline_error": "AX001", "baseline_not_ended": "AX002", "standstill": "AX003",
    "ended_otherwise": "AX004", "run_not_ended": "AX005", "worker_failed": "AX006",
    "replay_differs": "AX010", "other_call": "AX011", "other_arguments": "AX012",
    "result_differs": "AX013", "event_differs": "AX014", "stream_differs": "AX015",
    "stream_repeated": "AX016", "rows_repeated": "AX020", "rows_missing": "AX021",
    "rows_differ": "AX022", "effect_repeated": "AX023", "effect_in_body": "AX024",
    "request_repeated": "AX025", "child_started_twice": "AX030", "child_missing": "AX031",
    "workflow_left": "AX032", "body_repeated": "AX040", "checkpoint_lost": "AX041",
    "checkpoint_repeated": "AX042", "lost_by_server": "AX043", "old_owner_wrote": "AX044",
    "stranded_untold": "AX045", "cannot_go_on": "AX046", "ends_in_error": "AX047",
    "other_step": "AX017", "result_of_neither": "AX095", "": "AX050", "depends_on_step": "AX090",
    "depends_on_downtime": "AX096", "missed_times": "AX097", "clock_change": "AX098",
    "effect_missing": "AX026", "other_way": "AX018", "message_repeated": "AX027",
    "ran_twice_outside": "AX091", "unsteady": "AX092", "no_route": "AX093",
    "rows_not_judged": "AX094",
}  # fmt: skip


def sighting(
    point: str, kind: str, cause: str, *, promise: str | None = "once", where: str | None = None
) -> Sighting:
    anomaly = Anomaly(f"{cause} at {point}", [{"point": point}], kind, cause, where)
    verdict = None if promise is None else Verdict(promise, "it is so", [anomaly])
    return Sighting(point, anomaly, verdict, log=[f"log of {point}"])


def test_codes_stay() -> None:
    assert {code.kind: code.code for code in CODES} == STABLE
    assert code_of("a kind of nobody's").code == "AX050"


def test_each_kind_that_a_judgement_names_has_a_code() -> None:
    judge = Path(__file__).parents[3] / "aexp" / "crash" / "judge"
    named = {
        part.split('"')[1]
        for path in judge.glob("*.py")
        if path.name != "codes.py"
        for part in path.read_text().split("kind=")[1:]
        if part.startswith('"')
    }
    assert named
    assert named <= set(STABLE)


def test_the_documentation_says_the_same() -> None:
    assert DOCS.read_text() == render_codes()


def test_one_cause_is_told_once_with_all_its_points() -> None:
    found = group_findings(
        [
            sighting("a", "rows_repeated", "payments", where="flows.py:3"),
            sighting("b", "rows_repeated", "payments", where="flows.py:3"),
            sighting("b", "rows_repeated", "payments", where="flows.py:3"),
            sighting("b", "rows_repeated", "letters"),
        ]
    )
    assert [(each.summary, each.points) for each in found] == [
        ("payments at a", ["a", "b"]), ("letters at b", ["b"]),
    ]  # fmt: skip
    assert found[0].where == "flows.py:3"
    assert found[0].example.log == ["log of a"]
    told = found[0].as_json()
    assert (told["code"], told["points"], told["rows"]) == ("AX020", ["a", "b"], [{"point": "a"}])


def test_a_summary_stands_for_the_cause_whatever_its_numbers() -> None:
    def said(summary: str, point: str, kind: str = "") -> Sighting:
        anomaly = Anomaly(summary, kind=kind)
        return Sighting(point, anomaly, Verdict("once", "it is so", [anomaly]))

    found = group_findings(
        [
            said("3 ticks were recorded more than once", "a"),
            said("12 ticks were recorded more than once", "b"),
            said("12 ticks are missing", "b"),
            said("12 ticks are missing", "b", kind="rows_missing"),
        ]
    )
    assert [(each.code.code, each.summary, each.points) for each in found] == [
        ("AX021", "12 ticks are missing", ["b"]),
        ("AX050", "3 ticks were recorded more than once", ["a", "b"]),
        ("AX050", "12 ticks are missing", ["b"]),
    ]


def test_the_most_severe_is_told_first_and_what_breaks_nothing_last() -> None:
    found = group_findings(
        [
            sighting("a", "unsteady", "x", promise=None),
            sighting("a", "", "own"),
            sighting("a", "result_differs", "x"),
            sighting("a", "ended_otherwise", "x"),
        ]
    )
    assert [each.code.code for each in found] == ["AX004", "AX013", "AX050", "AX092"]
    assert [each.is_broken for each in found] == [True, True, True, False]


def test_what_the_baseline_says_twice_is_told_once() -> None:
    found = group_findings(
        [
            sighting("baseline", "standstill", "waits", promise="ends_alone"),
            sighting("baseline", "standstill", "waits", promise="run_ends"),
            sighting("a", "standstill", "waits", promise="run_ends"),
        ]
    )
    assert [(each.promise, each.points) for each in found] == [
        ("ends_alone", ["baseline"]), ("run_ends", ["a"]),
    ]  # fmt: skip
