"""The kinds of findings: a code that stays, a title, and what it means (``docs/findings.md``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["CODES", "Code", "code_of", "render_codes"]


@dataclass(frozen=True, slots=True)
class Code:
    """A kind of finding. One that is only ``told`` breaks no promise."""

    code: str
    kind: str
    title: str
    meaning: str
    told: bool = False


# From the most severe kind to the least. Numbers are given once, and never to another kind.
CODES: Sequence[Code] = (
    Code(
        "AX001", "baseline_error", "fails without any fault",
        "Left alone, the workflow ends in error. Nothing after the step that failed was tried: a"
        " missing key, table or service looks like this. Mend it, or say that it is as it should"
        " be: `--expect-error`, `Scenario(expect_error=True)`.",
    ),
    Code(
        "AX002", "baseline_not_ended", "does not end without any fault",
        "Left alone, the run did not end within its deadline. Give a longer `--deadline`, if it"
        " takes that long.",
    ),
    Code(
        "AX003", "standstill", "nothing can move any more",
        "The run waits for what will never come: a queue that no process serves, a message that"
        " nobody sends, a child that is not there, or a workflow that is PENDING while nobody works"
        " on it. In production it would wait for ever.",
    ),
    Code(
        "AX004", "ended_otherwise", "ends otherwise after a fault",
        "After a fault the workflow ends in error, or in another status than without one. Often a"
        " step ran a second time and failed because its first time had half succeeded: make it"
        " idempotent.",
    ),
    Code(
        "AX005", "run_not_ended", "does not end after a fault",
        "After the fault the run did not come to its end within the deadline.",
    ),
    Code(
        "AX006", "worker_failed", "the process fails after a fault",
        "A process that was started again after the fault ended on its own, with an error of its"
        " own.",
    ),
    Code(
        "AX010", "replay_differs", "its replay differs",
        "Run again from its own checkpoints, the workflow returns something else or fails: its body"
        " depends on the clock, on chance, on memory or on the order in which tasks end. A recovery"
        " in production is such a replay. Put what differs into a step.",
    ),
    Code(
        "AX011", "other_call", "a checkpoint answers another call",
        "On recovery a step was called with other arguments, or from another line, and got the"
        " result that was recorded for a different call. DBOS compares names only. Call steps in"
        " the same order each time: not `as_completed`, not an order of a set; make keys and times"
        " in steps.",
    ),
    Code(
        "AX012", "other_arguments", "a step begins again with other arguments",
        "All steps before it were durable, and still it was asked with other arguments the second"
        " time: they were made in the workflow's body, from the clock, from chance or from memory."
        " An idempotency key that is made so protects nothing. Make it in a step.",
    ),
    Code(
        "AX013", "result_differs", "another result after a fault",
        "All steps returned the same, and the result differs: it depends on the memory of the"
        " process that was killed.",
    ),
    Code(
        "AX014", "event_differs", "another event after a fault",
        "An event ends with another value than without a fault, and no step explains it.",
    ),
    Code(
        "AX015", "stream_differs", "another stream after a fault",
        "A stream lacks entries, or has others than without a fault, and no step explains it.",
    ),
    Code(
        "AX016", "stream_repeated", "stream entries twice",
        "A step that ran twice wrote its entries twice. Write to streams in the workflow's body,"
        " where each entry is written once.",
    ),
    Code(
        "AX020", "rows_repeated", "rows more than without a fault",
        "A table ends with more rows: a step that ran twice inserted twice. Use a transaction of a"
        " DBOS datasource, or a key and ON CONFLICT. `--ignore-table` leaves out a table whose rows"
        " may differ.",
    ),
    Code(
        "AX021", "rows_missing", "rows fewer than without a fault",
        "A table ends with fewer rows than without a fault: an effect was lost.",
    ),
    Code(
        "AX022", "rows_differ", "other rows than without a fault",
        "A table ends with other values, as when an update that adds happened twice.",
    ),
    Code(
        "AX023", "effect_repeated", "an effect twice",
        "An effect that was declared, or a step that was named by `--once`, happened a second time."
        " Give whoever receives it a key by which it is taken once, and say `idempotent=True`.",
    ),
    Code(
        "AX024", "effect_in_body", "an effect in the workflow's body",
        "The body of a workflow writes a file, connects or starts a process, outside any step: that"
        " happens again at each recovery. Put it into a step.",
    ),
    Code(
        "AX025", "request_repeated", "a request twice",
        "A request that changes something was sent twice without an Idempotency-Key, or with"
        " another one.",
    ),
    Code(
        "AX030", "child_started_twice", "a child started twice",
        "One call has started two workflows. Give the child an id that follows from the parent's,"
        " or is made by a step.",
    ),
    Code(
        "AX031", "child_missing", "a child is missing",
        "A workflow that was to be started is not there.",
    ),
    Code(
        "AX032", "workflow_left", "a workflow without an end",
        "A workflow is left PENDING, ENQUEUED, cancelled or dead-lettered, which it is not without"
        " a fault.",
    ),
    Code(
        "AX040", "body_repeated", "a step ran after its checkpoint",
        "The body of a step began although its checkpoint was durable: the checkpoint was removed,"
        " or DBOS itself is at fault.",
    ),
    Code(
        "AX041", "checkpoint_lost", "a checkpoint is gone",
        "A checkpoint that was durable does not stand in the database at the end.",
    ),
    Code(
        "AX042", "checkpoint_repeated", "a checkpoint written twice",
        "Two processes recorded the same step.",
    ),
    Code(
        "AX043", "lost_by_server", "lost by PostgreSQL",
        "What PostgreSQL had made durable was gone when it was started again.",
    ),
    Code(
        "AX044", "old_owner_wrote", "the old owner went on writing",
        "An executor whose work was taken over recorded something of it.",
    ),
    Code(
        "AX045", "stranded_untold", "work is left without a cause",
        "A process that was started wrongly left work lying, and nothing says why.",
    ),
    Code(
        "AX050", "", "a promise of the scenario",
        "A promise that the scenario itself makes does not hold.",
    ),
    Code(
        "AX090", "depends_on_step", "the outcome depends on a step",
        "A step that was not durable returned something else the second time, and the result"
        " followed it: a price, a time, a model's answer. That is as it should be, if it may"
        " change.",
        told=True,
    ),
    Code(
        "AX091", "ran_twice_outside", "a step that ran twice touched something outside",
        "A step ran more than once, as a step may, and it touches something outside PostgreSQL each"
        " time. Ask what a second time does there.",
        told=True,
    ),
    Code(
        "AX092", "unsteady", "differs without a fault, too",
        "What differs from run to run without any fault is compared with nothing. The line that it"
        " shows leaves it out by name.",
        told=True,
    ),
)  # fmt: skip

_PREFACE = (
    "What `aexp crash` finds, by code. Codes stay: none is ever given to another kind. Those from"
    " AX090 on are told and break no promise."
)
_BY_KIND: Mapping[str, Code] = {code.kind: code for code in CODES}


def code_of(kind: str) -> Code:
    """Return the code of a kind of anomaly; one that is not known is a scenario's own."""
    return _BY_KIND.get(kind, _BY_KIND[""])


def render_codes() -> str:
    """Render ``docs/findings.md``."""
    parts = ["# Findings", _PREFACE]
    for code in CODES:
        parts += [f"## {code.code} {code.title}", code.meaning]
    return "\n\n".join(parts) + "\n"
