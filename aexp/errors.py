"""What can go wrong, and the exit code that says so.

Every error that a person can cause or mend is an :class:`AexpError` whose text is one line that
says what to do. An anomaly that an audit finds is a result and never an exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = [
    "AexpError",
    "BadInput",
    "DatabaseError",
    "DatabaseMissing",
    "DatabaseNotOurs",
    "DatabaseReadOnly",
    "DatabaseTooNew",
    "DatabaseTooOld",
    "DatabaseUnreachable",
    "EmbeddedServerError",
    "ExecutorAlive",
    "ExecutorWorking",
    "ForkRefused",
    "InputChanged",
    "Interrupted",
    "InvalidParameter",
    "InvalidTarget",
    "NoLastRun",
    "NoRuns",
    "OriginGone",
    "OutputClosed",
    "ProcessEnded",
    "ProtocolViolation",
    "RunActive",
    "RunBusy",
    "RunElsewhere",
    "RunEnded",
    "RunMismatch",
    "RunUnfinished",
    "ScenarioError",
    "Standstill",
    "TooManyRuns",
    "UnknownExecutor",
    "UnknownRun",
    "UnknownScenario",
    "UsageError",
    "WorkerFailed",
    "first_of_ours",
    "sole_error",
]


class AexpError(Exception):
    """Root of all errors that aexp raises on purpose."""

    exit_code = 1


class UsageError(AexpError):
    """The command, as given, cannot be carried out (exit code 2)."""

    exit_code = 2


class UnknownScenario(UsageError):
    """No scenario of this name is built in or installed."""

    def __init__(self, name: str, nearest: Sequence[str]) -> None:
        self.name = name
        self.nearest = tuple(nearest)
        hint = f"; did you mean {' or '.join(self.nearest)}?" if self.nearest else ":"
        super().__init__(f"unknown scenario {name!r}{hint} `aexp list` shows all of them")


class InvalidTarget(UsageError):
    """A user's module does not import, or its object is no scenario and no workflow."""


class InvalidParameter(UsageError):
    """A parameter that the scenario does not take, or a value that it does not accept."""

    def __init__(self, scenario: str, problems: Sequence[str]) -> None:
        self.scenario = scenario
        self.problems = tuple(problems)
        super().__init__(
            f"{'; '.join(self.problems)} (`aexp describe` lists what {scenario} takes)"
        )


class BadInput(UsageError):
    """An input that cannot be read: a file that is no JSON lines, a store that is not there."""


class InputChanged(BadInput):
    """An input file is not the one that the run began with."""


class UnknownExecutor(UsageError):
    """No executor of this name has worked on a run."""

    def __init__(self, executor_id: str) -> None:
        self.executor_id = executor_id
        super().__init__(f"no executor {executor_id!r} is known: `aexp workers` lists them")


class UnknownRun(UsageError):
    """No run of this id is in the database."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"no run {run_id!r} in this database; `aexp runs` lists them")


class NoLastRun(UsageError):
    """The last run is asked for, and there is none."""

    def __init__(self) -> None:
        super().__init__("there is no run in this database: `aexp run SCENARIO` begins one")


class RunMismatch(UsageError):
    """A run id that belongs to another scenario or was begun with other parameters."""

    def __init__(self, run_id: str, differences: Sequence[str]) -> None:
        self.run_id = run_id
        self.differences = tuple(differences)
        super().__init__(
            f"run {run_id!r} was begun with {'; '.join(self.differences)}:"
            " leave these out to resume it, or choose another --run-id"
        )


class RunBusy(UsageError):
    """Another living process works on the same run."""

    def __init__(self, run_id: str, pid: int | None, executor_id: str | None) -> None:
        self.run_id = run_id
        self.pid = pid
        self.executor_id = executor_id
        holder = f"process {pid} (executor {executor_id!r})" if pid else "another process"
        super().__init__(f"{holder} is already working on run {run_id!r}: wait for it, or end it")


class RunElsewhere(UsageError):
    """Workflows of the run are claimed by another executor, which alone recovers them."""

    def __init__(self, run_id: str, executor_id: str, workflows: int) -> None:
        self.run_id = run_id
        self.executor_id = executor_id
        self.workflows = workflows
        super().__init__(
            f"{workflows} workflows of run {run_id!r} are claimed by executor {executor_id!r},"
            f" and DBOS recovers them only there: give --executor-id {executor_id},"
            f" or hand them over with `aexp recover {executor_id}` if it will not come back"
        )


class ExecutorAlive(UsageError):
    """A living process has the name of the executor."""

    def __init__(self, executor_id: str) -> None:
        self.executor_id = executor_id
        super().__init__(
            f"executor {executor_id!r} is alive: two of one name would take each other's work;"
            " give another --executor-id, or end that process"
        )


class ExecutorWorking(UsageError):
    """The work of an executor is to be handed over, but a process of it lives."""

    def __init__(self, executor_id: str) -> None:
        self.executor_id = executor_id
        super().__init__(
            f"executor {executor_id!r} is alive and does its work itself: there is nothing to"
            " recover; to hand the work over all the same, end that process first"
        )


class RunEnded(UsageError):
    """A kill is asked for, but the run has ended."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"run {run_id!r} has ended, there is nothing to kill: begin a new run")


class NoRuns(UsageError):
    """No run was ever begun there."""

    def __init__(self, home: Path) -> None:
        self.home = home
        super().__init__(
            f"no runs here: {home.absolute()} has no data of the embedded server; `aexp run resume`"
            " begins the first, --home or --database-url names another place"
        )


class RunActive(UsageError):
    """A run is being worked on, which what is asked for cannot be done beside."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"run {run_id!r} is being worked on: wait for its end, or cancel it")


class RunUnfinished(UsageError):
    """A run has not ended, which what is asked for must wait for."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"run {run_id!r} has not ended: wait for its end, resume it, or cancel it")


class ForkRefused(UsageError):
    """A run cannot be forked, or not at that step."""

    def __init__(self, run_id: str, reason: str) -> None:
        self.run_id = run_id
        super().__init__(f"run {run_id!r} cannot be forked so: {reason}")


class OriginGone(AexpError):
    """The run that a fork was to begin from has been deleted meanwhile."""

    def __init__(self, run_id: str, origin: str) -> None:
        self.run_id = run_id
        self.origin = origin
        super().__init__(
            f"run {origin!r}, from which {run_id!r} was to be forked, is no more: begin a new run"
        )


class TooManyRuns(AexpError):
    """A service works on as many runs as it may."""

    def __init__(self, most: int) -> None:
        self.most = most
        super().__init__(f"{most} runs are being worked on, no more may be: try again later")


class DatabaseError(AexpError):
    """The database cannot be used (exit code 3)."""

    exit_code = 3


class DatabaseUnreachable(DatabaseError):
    """No connection: nothing listens, access is refused, or the database does not exist."""


class DatabaseMissing(DatabaseUnreachable):
    """The server has no database of that name."""


class DatabaseTooOld(DatabaseError):
    """The server is older than the oldest that aexp supports."""


class DatabaseReadOnly(DatabaseError):
    """The server is a standby, or its transactions are read-only."""


class DatabaseNotOurs(DatabaseError):
    """Schema ``aexp`` exists but was not made by aexp's migrations."""


class DatabaseTooNew(DatabaseError):
    """The database was migrated by a newer aexp than this one."""


class ProtocolViolation(DatabaseError):
    """What a client or a server sent is not PostgreSQL's wire protocol."""


class EmbeddedServerError(DatabaseError):
    """The embedded PostgreSQL cannot be started or stopped."""


class ScenarioError(AexpError):
    """Code of a scenario raised where it must not: in its resources, evidence or account."""

    def __init__(self, scenario: str, part: str, error: BaseException) -> None:
        self.scenario = scenario
        self.part = part
        super().__init__(
            f"{part} of scenario {scenario!r} raised {type(error).__name__}: {error}"
            " (--debug shows where)"
        )


class Standstill(AexpError):
    """Nothing of a run can move any more: each of its workflows waits for what does not come.

    As an exit code it is 4 where one process tells another one; a command's is 1.
    """

    worker_code = 4

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class WorkerFailed(AexpError):
    """A worker process ended on its own with an error, which becomes ours."""

    def __init__(self, pid: int, code: int, reason: str) -> None:
        self.pid = pid
        self.code = code
        if code in {UsageError.exit_code, DatabaseError.exit_code}:
            self.exit_code = code
            super().__init__(reason)
        else:
            ended = f"was killed by signal {-code}" if code < 0 else f"exited with {code}"
            super().__init__(f"worker process {pid} {ended}: {reason}")


class ProcessEnded(AexpError):
    """A workflow, or the module that it is in, asked for the end of the process."""

    def __init__(self, code: object) -> None:
        super().__init__(f"the workflow or its module ended the process: SystemExit({code})")


class OutputClosed(AexpError):
    """Whoever reads stdout has read enough, which needs no word (exit code 141).

    A shell gives that code, 128 + 13, to a program that SIGPIPE has ended.
    """

    exit_code = 141


class Interrupted(AexpError):
    """A signal ended the command, and its run if it has one goes on later (exit code 130)."""

    exit_code = 130

    def __init__(self, run_id: str | None = None) -> None:
        self.run_id = run_id
        goes_on = f"; nothing is lost: `aexp resume {run_id}` goes on" if run_id is not None else ""
        super().__init__(f"interrupted{goes_on}")


def first_of_ours(error: BaseException) -> AexpError | None:
    """Return ``error`` itself when it is an AexpError, or the first that a task group wrapped."""
    if isinstance(error, AexpError):
        return error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            if (found := first_of_ours(inner)) is not None:
                return found
    return None


def sole_error(error: BaseException) -> BaseException:
    """Return the one error that task groups have wrapped, or ``error`` itself when it is none of
    theirs or wraps several.
    """
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        (error,) = error.exceptions
    return error
