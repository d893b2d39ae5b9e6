"""One connection's transactions, told from the messages that pass in both directions.

What a transaction has written is known from the server's own counts: a statement that touched no
row wrote nothing, a failed transaction or what was rolled back to a savepoint neither. So before a
message that may commit, the answers to all that was sent are waited for (`unsettled`), and only
then is it asked what the message makes durable (`would_commit`). Where the count comes too late, in
a simple query that both writes and commits, or does not tell, in a WITH, the text decides.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from aexp.crash.proxy import statements
from aexp.crash.proxy.frames import (
    Ask,
    Piece,
    Reply,
    Value,
    read_bind,
    read_parse,
    read_tag,
    read_text,
)
from aexp.crash.proxy.statements import Control, Statement
from aexp.crash.proxy.writes import Effect, Write, effects_of

__all__ = ["ClientRequest", "Session", "Settled"]


@dataclass(frozen=True, slots=True)
class _Savepoint:
    name: str


@dataclass(frozen=True, slots=True)
class _Run:
    """A statement that is run with its parameters."""

    statement: Statement
    effects: tuple[Effect, ...] = ()

    @property
    def matters(self) -> bool:
        return bool(self.effects) or self.statement.control is not None


@dataclass(slots=True)
class _Transaction:
    """What is written and not yet committed. ``block``: between BEGIN and its end."""

    block: bool = False
    failed: bool = False
    written: list[Effect | _Savepoint] = field(default_factory=list)

    @property
    def effects(self) -> list[Effect]:
        return [one for one in self.written if isinstance(one, Effect)]

    def run(self, statement: Statement, effects: Sequence[Effect]) -> list[Effect]:
        """Note that ``statement`` has been run, or would be; return what it made durable."""
        match statement.control:
            case Control.BEGIN:
                self.block = True
            case Control.COMMIT:
                done = [] if self.failed else self.effects
                self.end()
                return done
            case Control.ROLLBACK:
                self.end()
            case Control.SAVEPOINT:
                self.written.append(_Savepoint(statement.savepoint))
            case Control.ROLLBACK_TO:
                self._back_to(_Savepoint(statement.savepoint))
            case None if not self.failed:
                self.written += effects
        return []

    def end(self) -> None:
        self.block = self.failed = False
        self.written.clear()

    def _back_to(self, savepoint: _Savepoint) -> None:
        self.failed = False
        # The savepoint itself stays.
        while self.written and self.written[-1] != savepoint:
            self.written.pop()


@dataclass(slots=True)
class ClientRequest:
    """A message of the client, as far as it matters here."""

    kind: int
    runs: deque[_Run] = field(default_factory=deque)
    write: Write | None = None
    committed: list[Effect] = field(default_factory=list)
    copied: bool = False

    @property
    def copies_in(self) -> bool:
        """Whether its rows are still to come."""
        return not self.copied and any(run.statement.copies_in for run in self.runs)


@dataclass(frozen=True, slots=True)
class Settled:
    """What has become of requests: ``durable`` is what ``write`` (None if nobody announced it) made
    durable, or nothing; ``undone`` are writes that were announced and are not durable.
    """

    write: Write | None = None
    durable: tuple[Effect, ...] = ()
    undone: tuple[Write, ...] = ()


@dataclass(slots=True)
class Session:
    """Follows one connection. Feed it every piece that has a kind, in order."""

    # Where its client waits to send a Sync.
    concluding: bool = False
    # The client shall not hear yet of what is not yet committed.
    withheld: bool = False
    _transaction: _Transaction = field(default_factory=_Transaction)
    _prepared: dict[str, Statement] = field(default_factory=dict)
    _portals: dict[str, _Run] = field(default_factory=dict)
    _owed: deque[ClientRequest] = field(default_factory=deque)
    # After an error the server reads no further than to the next Sync.
    _skipping: bool = False

    def read(self, piece: Piece) -> ClientRequest:
        """Understand a message of the client, before it is passed on."""
        body = piece.body
        runs: deque[_Run] = deque()
        match piece.kind:
            case Ask.PARSE:
                name, sql = read_parse(body)
                self._prepared[name] = next(iter(statements.read(sql)), Statement())
            case Ask.BIND:
                bound = read_bind(body)
                statement = self._prepared.get(bound.statement, Statement())
                self._portals[bound.portal] = _run(statement, bound.values)
            case Ask.EXECUTE:
                runs.append(self._portals.get(read_text(body), _Run(Statement())))
            case Ask.CLOSE:
                held = self._prepared if body[:1] == b"S" else self._portals
                held.pop(read_text(body[1:]), None)
            case Ask.QUERY:
                runs.extend(_run(statement, ()) for statement in statements.read(read_text(body)))
        return ClientRequest(piece.kind, runs)

    def may_commit(self, request: ClientRequest) -> bool:
        """Return whether something may become durable by ``request``."""
        if request.kind == Ask.SYNC:
            return True
        if request.kind == Ask.COPY_DONE:
            return bool(self._owed) and self._owed[0].kind == Ask.QUERY and not self._owed[0].write
        commits = any(run.statement.control is Control.COMMIT for run in request.runs)
        if request.kind == Ask.EXECUTE:
            return commits
        # What is copied is not there before its CopyDone, and is asked about then.
        return not request.copies_in and (commits or any(run.effects for run in request.runs))

    @property
    def unsettled(self) -> bool:
        """Whether an answer is to come without which `would_commit` cannot be told."""
        awaited = [request for request in self._owed if not request.copies_in]
        ending = bool(self._transaction.written) and any(r.kind != Ask.EXECUTE for r in awaited)
        return ending or any(run.matters for request in awaited for run in request.runs)

    @property
    def announced(self) -> bool:
        """Whether a write is under way."""
        return any(request.write is not None for request in self._owed)

    def would_commit(self, request: ClientRequest) -> list[Effect]:
        """Return what ``request`` makes durable when the server gets it, if all goes well."""
        ahead = copy.copy(self._transaction)
        ahead.written = list(ahead.written)
        runs = self._owed[0].runs if request.kind == Ask.COPY_DONE else request.runs
        done = [effect for run in runs for effect in ahead.run(run.statement, run.effects)]
        if request.kind != Ask.EXECUTE and not ahead.block and not ahead.failed:
            done += ahead.effects
        return done

    def sent(self, request: ClientRequest, write: Write | None = None) -> None:
        """Note that ``request`` is passed on, as what makes ``write`` durable."""
        match request.kind:
            case Ask.COPY_DONE | Ask.COPY_FAIL:
                if self._owed:
                    self._owed[0].copied = True
                    self._owed[0].write = self._owed[0].write or write
            case Ask.SYNC:
                self.concluding = self._skipping = False
                # In the middle of COPY the server overhears it.
                if not any(owed.copies_in for owed in self._owed):
                    request.write = write
                    self._owed.append(request)
            case Ask.EXECUTE | Ask.QUERY if not self._skipping:
                request.write = write
                self._owed.append(request)

    def received(self, piece: Piece) -> Settled | None:
        """Understand a message of the server; returns what it settles."""
        match piece.kind:
            case Reply.COMPLETE:
                return self._complete(*read_tag(piece.body))
            case Reply.EMPTY | Reply.SUSPENDED:
                return self._complete("", None)
            case Reply.ERROR:
                return self._error()
            case Reply.COPY_IN if self._owed:
                self._owed[0].copied = False
            case Reply.READY:
                return self._ready(piece.body[:1])
        return None

    def _complete(self, tag: str, count: int | None) -> Settled | None:
        if not self._owed or not self._owed[0].runs:
            return None
        request = self._owed[0]
        run = request.runs.popleft()
        if request.kind == Ask.EXECUTE:
            self._owed.popleft()
        refused = run.statement.control is Control.COMMIT and tag == "ROLLBACK"
        wrote = not (run.statement.counted and count == 0)
        if refused:
            self._transaction.end()
        done = [] if refused else self._transaction.run(run.statement, run.effects if wrote else ())
        if request.kind != Ask.EXECUTE:
            request.committed += done
            self.withheld = self.withheld or request.write is not None
            return None
        if not self._transaction.block and self._transaction.written:
            concluded = any(owed.kind == Ask.SYNC for owed in self._owed)
            self.withheld = self.withheld or self.concluding or concluded
        if done:
            return Settled(request.write, tuple(done))
        return Settled(undone=(request.write,)) if request.write is not None else None

    def _error(self) -> Settled | None:
        self._transaction.failed = True
        undone: list[Write] = []
        while self._owed and self._owed[0].kind == Ask.EXECUTE:
            dropped = self._owed.popleft()
            undone += [] if dropped.write is None else [dropped.write]
        if self._owed:
            self._owed[0].runs.clear()
        else:
            self._skipping = True
        return Settled(undone=tuple(undone)) if undone else None

    def _ready(self, status: bytes) -> Settled | None:
        request = ClientRequest(Ask.SYNC)
        while self._owed:
            request = self._owed.popleft()
            if request.kind != Ask.EXECUTE:
                break
        transaction = self._transaction
        done = request.committed
        if status == b"I":
            done = done + ([] if transaction.failed else transaction.effects)
            transaction.end()
        else:
            transaction.block = True
            transaction.failed = status == b"E"
        self.withheld = self._skipping = False
        if done:
            return Settled(request.write, tuple(done))
        return Settled(undone=(request.write,)) if request.write is not None else None


def _run(statement: Statement, values: Sequence[Value]) -> _Run:
    return _Run(statement, effects_of(statement, values))
