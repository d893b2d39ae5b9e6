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
        "Left alone, the workflow ends in error, or one does that it started and that nobody"
        " awaits. Nothing after the step that failed was tried: a missing key, table or service"
        " looks like this. Mend it, or say that it is as it should be: `--expect-error`,"
        " `Scenario(expect_error=True)`.",
    ),
    Code(
        "AX002", "baseline_not_ended", "does not end without any fault",
        "Left alone, the run did not end within its deadline, so that no fault was tried. Give a"
        " longer `--deadline` if it takes that long, or less to do.",
    ),
    Code(
        "AX003", "standstill", "nothing can move any more",
        "The run waits for what will never come: a queue that no process serves, a message that"
        " nobody sends, a child that is not there, or a workflow that is PENDING while nobody works"
        " on it. In production it would wait for ever. Have the target's module register the queue,"
        " send the message from a workflow, or give the wait a timeout.",
    ),
    Code(
        "AX004", "ended_otherwise", "ends otherwise after a fault",
        "After a fault the workflow ends in error, or in another status than without one, or a"
        " child that nobody awaits does. Often a step ran a second time and failed because its"
        " first time had half succeeded: make it idempotent. A DBOSUnexpectedStepError says that"
        " the body called other steps than before: it must be a function of its input and of what"
        " its steps returned.",
    ),
    Code(
        "AX005", "run_not_ended", "does not end after a fault",
        "After the fault the run did not come to its end, though another process had been started"
        " and had the time: in production its work would lie there until somebody looks. The"
        " summary says what it waits for where that is known. Look at what the recovered workflow"
        " awaits, above all at what only the process that was killed would have done.",
    ),
    Code(
        "AX006", "worker_failed", "the process fails after a fault",
        "A process that was started again after the fault ended on its own, with an error of its"
        " own: in production it would be started again and again. Its last words stand in the"
        " example. What a process does at its start must bear what the one before it left behind.",
    ),
    Code(
        "AX010", "replay_differs", "its replay differs",
        "Run again from its own checkpoints, the workflow returns something else or fails: its body"
        " depends on the clock, on chance, on memory or on the order in which tasks end. A recovery"
        " in production is such a replay. Put what differs into a step. A child that is awaited by"
        " its handle is asked again on replay (DBOS 3.4.0): await it by `DBOS.get_result_async`.",
    ),
    Code(
        "AX017", "other_step", "another step than was recorded",
        "On a replay the body calls another step than the one whose checkpoint stands there, and"
        " DBOS ends the workflow with a DBOSUnexpectedStepError. Which steps a body calls, and in"
        " which order, must follow from its input and from what its steps returned: not from the"
        " clock, chance, a set's order, the machine, or which of several tasks ends first. Where"
        " new code does it, the change belongs behind `DBOS.patch`.",
    ),
    Code(
        "AX018", "other_way", "another way after a fault",
        "All steps returned what they return without a fault, and the workflow calls other steps,"
        " or calls one more or less often: its way depends on the memory of the process that was"
        " killed. Or a step answers otherwise the second time, since it finds what its own first"
        " run has left: a row that is there already. What the workflow leaves out is never done."
        " Decide by what steps returned, and have a step return the same for what it has done.",
    ),
    Code(
        "AX011", "other_call", "a checkpoint answers another call",
        "On recovery a step was called with other arguments, or from another line, and got the"
        " result that was recorded for a different call. DBOS compares names only, so that the"
        " workflow goes on with a wrong value and nobody hears of it. Call steps in the same order"
        " each time: not `as_completed`, not the order of a set; make keys and times in steps.",
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
        " process that was killed. Whoever awaits the workflow gets a wrong answer. Have steps"
        " return what the result is made of, and keep nothing in globals or on objects.",
    ),
    Code(
        "AX014", "event_differs", "another event after a fault",
        "An event ends with another value than without a fault, and no step explains it. Whoever"
        " waits for it acts on that value. Set events from what steps returned.",
    ),
    Code(
        "AX015", "stream_differs", "another stream after a fault",
        "A stream lacks entries, or has others than without a fault, and no step explains it."
        " Its readers see what never happened, or miss what did. Write to it from what steps"
        " returned.",
    ),
    Code(
        "AX016", "stream_repeated", "stream entries twice",
        "A step that ran twice wrote its entries twice. Write to streams in the workflow's body,"
        " where each entry is written once.",
    ),
    Code(
        "AX020", "rows_repeated", "rows more than without a fault",
        "A table ends with more rows: a step that ran twice inserted twice, such as a payment. Use"
        " a transaction of a DBOS datasource, or a key and ON CONFLICT. `--ignore-table` leaves out"
        " a table whose rows may differ.",
    ),
    Code(
        "AX021", "rows_missing", "rows fewer than without a fault",
        "A table ends with fewer rows than without a fault: an effect was lost. Often it was made"
        " in the body or by a task that no step awaits, or a step notes that it is done before it"
        " is. Write the row in a step, and return when it is committed.",
    ),
    Code(
        "AX022", "rows_differ", "other rows than without a fault",
        "A table ends with other values, as when an update that adds happened twice. Set values"
        " instead of adding to them, or use a transaction of a DBOS datasource, which is recorded"
        " together with what it writes.",
    ),
    Code(
        "AX023", "effect_repeated", "an effect twice",
        "An effect that was declared, or a step that was named by `--once`, happened a second time:"
        " a charge, a mail. No step that is not a transaction can prevent that. Give whoever"
        " receives it a key by which it is taken once, and say `idempotent=True`.",
    ),
    Code(
        "AX026", "effect_missing", "an effect that never happens",
        "An effect that is declared, or a request to a stub that changes something, happens in"
        " every run without a fault, and not here, though no step returned anything else: one notes"
        " that it is done before it is, and does nothing the second time. Do it first and note it"
        " afterwards, with a key by which a second time does no harm.",
    ),
    Code(
        "AX024", "effect_in_body", "an effect in the workflow's body",
        "The body of a workflow writes a file, connects or starts a process, outside any step: that"
        " happens again at each recovery, whatever was durable. Put it into a step.",
    ),
    Code(
        "AX025", "request_repeated", "a request twice",
        "A request that changes something, such as a charge, was sent to a stub (`--http`) a second"
        " time without an Idempotency-Key, or with another one, so that the service cannot know"
        " that it is the same. Make the key from the workflow's id, or in a step of its own before,"
        " and send it along; a key that is made in the step that sends is another one the second"
        " time. GET, HEAD, OPTIONS, PUT and DELETE may come twice. Where the service knows the"
        " request by something else, `effect(…, idempotent=True)` in the step says so.",
    ),
    Code(
        "AX027", "message_repeated", "a message twice",
        "A workflow was sent a message more often than without a fault: a step that ran twice sent"
        " it each time. Send it in the body of the workflow, where DBOS records it with the step,"
        " or give `DBOS.send` an `idempotency_key`.",
    ),
    Code(
        "AX030", "child_started_twice", "a child started twice",
        "One call has started two workflows, and all that the child does is done twice. Give the"
        " child an id that follows from the parent's, or is made by a step.",
    ),
    Code(
        "AX031", "child_missing", "a child is missing",
        "A workflow that was to be started is not there, and what it was to do is not done. Start"
        " children in the body of a workflow, not in a step, in a callback or from memory that a"
        " new process has not.",
    ),
    Code(
        "AX032", "workflow_left", "a workflow without an end",
        "A workflow is left PENDING, ENQUEUED, cancelled or dead-lettered, which it is not without"
        " a fault. What it was to do is not done, whether or not somebody waits for it. Await"
        " children, and have a process serve each queue.",
    ),
    Code(
        "AX040", "body_repeated", "a step ran after its checkpoint",
        "The body of a step began although its checkpoint was durable, so that even what DBOS has"
        " recorded happens twice: the checkpoint was removed, or DBOS itself is at fault. Look for"
        " code that deletes from the tables of DBOS; else report it to DBOS.",
    ),
    Code(
        "AX041", "checkpoint_lost", "a checkpoint is gone",
        "A checkpoint that was durable does not stand in the database at the end: the next recovery"
        " would run its step again. Look for code that deletes from the tables of DBOS.",
    ),
    Code(
        "AX042", "checkpoint_repeated", "a checkpoint written twice",
        "Two processes recorded the same step: both worked on the workflow, and the second did not"
        " see what the first had done. Give each process an executor id of its own.",
    ),
    Code(
        "AX043", "lost_by_server", "lost by PostgreSQL",
        "What PostgreSQL had acknowledged was gone when it was started again, so that no checkpoint"
        " can be relied on. Look for `fsync = off`, `synchronous_commit = off` and unlogged"
        " tables.",
    ),
    Code(
        "AX044", "old_owner_wrote", "the old owner went on writing",
        "An executor whose work was taken over recorded something of it, beside the new owner: a"
        " process that hangs for a while and then goes on does so in production. What it does"
        " outside DBOS's own tables must be idempotent.",
    ),
    Code(
        "AX045", "stranded_untold", "work is left without a cause",
        "A process that was started wrongly, as another executor or version, left work lying, and"
        " not for the cause that was expected: in production nobody could tell why it lies there.",
    ),
    Code(
        "AX046", "cannot_go_on", "the new code cannot go on",
        "A run that was in flight at the deployment does not come to its end under the new code: a"
        " workflow, a class or a configured instance that it needs is not there any more under its"
        " old name, or the process fails. Keep the old name beside the new one until no"
        " run needs it, or let processes of the old version finish what is theirs.",
    ),
    Code(
        "AX047", "ends_in_error", "ends in error under the new code",
        "A run that was in flight at the deployment ends in an error that the old code does not end"
        " in: often a checkpoint holds what an old step returned, and the new code expects another"
        " type or shape. Have the new code read both, or put the change behind `DBOS.patch`.",
    ),
    Code(
        "AX050", "", "a promise of the scenario",
        "A promise that the scenario itself makes does not hold. Its statement says what must be,"
        " its rows show what is.",
    ),
    Code(
        "AX090", "depends_on_step", "the outcome depends on a step",
        "A step that was not durable returned something else the second time, and the result"
        " followed it: a price, a time, a model's answer. That is as it should be, if it may"
        " change; else have the step return the same for the same arguments.",
        told=True,
    ),
    Code(
        "AX096", "depends_on_downtime", "the outcome depends on downtime",
        "A process that was down for so long finds a deadline that has passed: a wait has timed"
        " out, a workflow is cancelled, a step looks at the clock. What follows from that is told,"
        " with the deadline; whether it is right is the author's decision. Where a wait must"
        " outlast a downtime, give it a longer timeout; where a workflow must not be cancelled by"
        " one, give it none.",
        told=True,
    ),
    Code(
        "AX097", "missed_times", "times of a schedule that were missed",
        "A schedule has times in a downtime. DBOS lets them pass, or starts all of them at once"
        " when it is back (`automatic_backfill`). Ask which of these the work can bear: a report"
        " that is never made, or a thousand that are made together.",
        told=True,
    ),
    Code(
        "AX098", "clock_change", "a schedule when clocks change",
        "On a day of the coming year on which clocks change in its time zone, a schedule fires"
        " otherwise than on others: twice, as two workflows of different ids, or at another time."
        " Give it a time outside the hours that are left out or repeated, or UTC, or have the"
        " work bear it.",
        told=True,
    ),
    Code(
        "AX091", "ran_twice_outside", "a step that ran twice touched something outside",
        "A step ran more than once, as a step may, and it touches something outside PostgreSQL each"
        " time. Ask what a second time does there; `effect(…, key=…)` in the step, `--once"
        " STEP`, or a stub of the service, `--http`, has it judged.",
        told=True,
    ),
    Code(
        "AX095", "result_of_neither", "a result of neither code",
        "A run that was in flight at the deployment ends with another result than the old code and"
        " the new one come to by themselves: some of its steps were of the old code, some of the"
        " new. No promise says which result is right. Look at it; where it is wrong, put the change"
        " behind `DBOS.patch`.",
        told=True,
    ),
    Code(
        "AX092", "unsteady", "differs without a fault, too",
        "What differs from run to run without any fault is compared with nothing. The line that it"
        " shows leaves it out by name.",
        told=True,
    ),
    Code(
        "AX093", "no_route", "a request without a route",
        "A stub was asked for what its file says nothing of, and answered 404. Add a route, with"
        " status 404 if that is the answer.",
        told=True,
    ),
    Code(
        "AX094", "rows_not_judged", "rows that are not judged",
        "A table ends with other rows than without a fault, and nobody can tell whether that is"
        " right: a step that the rows may follow from returned something else, or the workflow took"
        " another way. Look at it; where it should not be, have the step return the same for the"
        " same arguments, or promise of the rows in a Scenario what always holds.",
        told=True,
    ),
)  # fmt: skip

_PREFACE = (
    "What `aexp crash`, `aexp determinism` and `aexp upgrade` find, by code. Codes stay: none is"
    " ever given to another kind. Those from AX090 on are told and break no promise."
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
